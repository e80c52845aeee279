package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// qmp is a client of QEMU's machine protocol: one JSON object a line,
// answers matched to commands by id, events in between.
type qmp struct {
	conn    net.Conn
	ready   chan struct{} // closed when the greeting has come
	onEvent func(name string, data json.RawMessage)

	mu      sync.Mutex
	next    int
	waiting map[int]chan qmpMessage
	closed  bool
}

// A qmpMessage is anything that QEMU may send.
type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	ID       *int            `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

func newQMP(conn net.Conn, onEvent func(string, json.RawMessage)) *qmp {
	return &qmp{conn: conn, onEvent: onEvent, ready: make(chan struct{}), waiting: map[int]chan qmpMessage{}}
}

// errEnded says that the machine is gone.
var errEnded = errors.New("qemu: the machine has ended")

// read takes messages until the connection ends. One caller.
func (q *qmp) read() {
	dec := json.NewDecoder(q.conn)
	for {
		var m qmpMessage
		if err := dec.Decode(&m); err != nil {
			break
		}
		switch {
		case m.Greeting != nil:
			close(q.ready)
		case m.Event != "":
			q.onEvent(m.Event, m.Data)
		case m.ID != nil:
			q.mu.Lock()
			ch := q.waiting[*m.ID]
			delete(q.waiting, *m.ID)
			q.mu.Unlock()
			if ch != nil {
				ch <- m // has room for one
			}
		}
	}
	q.mu.Lock()
	q.closed = true
	for _, ch := range q.waiting {
		close(ch)
	}
	q.waiting = nil
	q.mu.Unlock()
}

// hello waits for the greeting, leaves the negotiation mode and lets the
// machine run.
func (q *qmp) hello(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-q.ready:
	case <-done:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := q.execute(ctx, "qmp_capabilities", nil); err != nil {
		return err
	}
	_, err := q.execute(ctx, "cont", nil)
	return err
}

// execute sends a command and waits for its answer.
func (q *qmp) execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	answer := make(chan qmpMessage, 1)
	if err := q.send(command, args, answer); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-answer:
		if !ok {
			return nil, errEnded
		}
		if m.Error != nil {
			return nil, fmt.Errorf("qemu: %s: %s", command, m.Error.Desc)
		}
		return m.Return, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("qemu: %s: %w", command, ctx.Err())
	}
}

func (q *qmp) send(command string, args any, answer chan qmpMessage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errEnded
	}
	q.next++
	data, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, args, q.next})
	if err != nil {
		return fmt.Errorf("qemu: %s: %w", command, err)
	}
	q.waiting[q.next] = answer
	if _, err := q.conn.Write(append(data, '\n')); err != nil {
		delete(q.waiting, q.next)
		return fmt.Errorf("%w: %s: %w", errEnded, command, err)
	}
	return nil
}
