package callahead

import (
	"container/list"
	"time"
)

// memory remembers answers, each for its own time, and at most size of them:
// the one that was not needed for longest is forgotten first. It is not safe
// for concurrent use.
type memory struct {
	size  int
	order *list.List // of *answer, the latest used first
	byKey map[string]*list.Element
}

type answer struct {
	key   string
	err   error // nil is yes
	until time.Time
}

func newMemory(size int) *memory {
	return &memory{size: size, order: list.New(), byKey: make(map[string]*list.Element)}
}

// get returns the answer for key; ok is false where there is none, or an old one.
func (m *memory) get(key string, now time.Time) (ok bool, err error) {
	e := m.byKey[key]
	if e == nil {
		return false, nil
	}
	a := e.Value.(*answer)
	if !now.Before(a.until) {
		m.order.Remove(e)
		delete(m.byKey, key)
		return false, nil
	}
	m.order.MoveToFront(e)
	return true, a.err
}

// put remembers an answer until the given time.
func (m *memory) put(key string, err error, until time.Time) {
	if e := m.byKey[key]; e != nil {
		e.Value = &answer{key, err, until}
		m.order.MoveToFront(e)
		return
	}
	if m.order.Len() == m.size {
		last := m.order.Back()
		m.order.Remove(last)
		delete(m.byKey, last.Value.(*answer).key)
	}
	m.byKey[key] = m.order.PushFront(&answer{key, err, until})
}
