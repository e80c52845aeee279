package queue

import "time"

// agenda is a heap of items ordered by time. index says where an item keeps
// its place: 0 when it is not in the agenda, else its position plus one.
type agenda[T any] struct {
	list  []appointment[T]
	index func(T) *int32
}

type appointment[T any] struct {
	at   time.Time
	item T
}

// set puts an item in, or moves it to another time.
func (a *agenda[T]) set(item T, at time.Time) {
	i := int(*a.index(item)) - 1
	if i < 0 {
		i = len(a.list)
		a.list = append(a.list, appointment[T]{})
	}
	a.put(i, appointment[T]{at, item})
	if !a.down(i) {
		a.up(i)
	}
}

// remove takes an item out if it is there.
func (a *agenda[T]) remove(item T) {
	i := int(*a.index(item)) - 1
	if i < 0 {
		return
	}
	*a.index(item) = 0
	end := len(a.list) - 1
	last := a.list[end]
	a.list[end] = appointment[T]{}
	a.list = a.list[:end]
	if i == end {
		return
	}
	a.put(i, last)
	if !a.down(i) {
		a.up(i)
	}
}

// due returns the first item if its time has come.
func (a *agenda[T]) due(now time.Time) (item T, ok bool) {
	if len(a.list) == 0 || a.list[0].at.After(now) {
		return item, false
	}
	return a.list[0].item, true
}

// first returns the time of the first item, zero when there is none.
func (a *agenda[T]) first() time.Time {
	if len(a.list) == 0 {
		return time.Time{}
	}
	return a.list[0].at
}

func (a *agenda[T]) put(i int, e appointment[T]) {
	a.list[i] = e
	*a.index(e.item) = int32(i + 1)
}

func (a *agenda[T]) up(i int) {
	e := a.list[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !e.at.Before(a.list[parent].at) {
			break
		}
		a.put(i, a.list[parent])
		i = parent
	}
	a.put(i, e)
}

// down reports whether the element at i has moved.
func (a *agenda[T]) down(i int) bool {
	e, start := a.list[i], i
	for {
		child := 2*i + 1
		if child >= len(a.list) {
			break
		}
		if right := child + 1; right < len(a.list) && a.list[right].at.Before(a.list[child].at) {
			child = right
		}
		if !a.list[child].at.Before(e.at) {
			break
		}
		a.put(i, a.list[child])
		i = child
	}
	a.put(i, e)
	return i != start
}
