package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// qtest is a client of QEMU's test protocol: one command a line, one answer
// a line that begins with OK or FAIL; other lines are events.
type qtest struct {
	conn    net.Conn
	answers chan string

	one  sync.Mutex // one command at a time
	owed int        // answers to come that nobody waits for any more
}

// maxOwed is how many commands may be given up before QEMU has answered them.
const maxOwed = 8

func newQTest(conn net.Conn) *qtest {
	// With room for every answer that can be on its way, read never blocks.
	return &qtest{conn: conn, answers: make(chan string, maxOwed+1)}
}

// read takes lines until the connection ends. One caller.
func (q *qtest) read() {
	defer close(q.answers)
	sc := bufio.NewScanner(q.conn)
	for sc.Scan() {
		if line := sc.Text(); strings.HasPrefix(line, "OK") || strings.HasPrefix(line, "FAIL") {
			q.answers <- line
		}
	}
}

// execute sends one command and waits for its answer, of which it gives what
// follows OK.
func (q *qtest) execute(ctx context.Context, command string) (string, error) {
	q.one.Lock()
	defer q.one.Unlock()
	if q.owed == maxOwed {
		return "", errors.New("qemu: qtest: too many commands without an answer")
	}
	if _, err := fmt.Fprintln(q.conn, command); err != nil {
		return "", fmt.Errorf("%w: %s: %w", errEnded, command, err)
	}
	q.owed++
	for {
		select {
		case line, ok := <-q.answers:
			if !ok {
				return "", errEnded
			}
			if q.owed--; q.owed > 0 {
				continue // the answer to a command that was given up
			}
			rest, ok := strings.CutPrefix(line, "OK")
			if !ok {
				return "", fmt.Errorf("qemu: qtest: %s: %s", command, line)
			}
			return strings.TrimSpace(rest), nil
		case <-ctx.Done():
			return "", fmt.Errorf("qemu: qtest: %w", ctx.Err())
		}
	}
}

// SetLine drives a GPIO line that the guest uses as an input, as a button on
// it would.
func (m *Machine) SetLine(ctx context.Context, line int, high bool) error {
	chip, err := m.gpioChip(ctx)
	if err != nil {
		return err
	}
	level := 0
	if high {
		level = 1
	}
	_, err = m.qtest.execute(ctx, fmt.Sprintf("set_irq_in %s unnamed-gpio-in %d %d", chip, line, level))
	return err
}

// gpioChip finds the PL061's name in QEMU's object tree, which differs with
// QEMU's version and the devices that are plugged in.
func (m *Machine) gpioChip(ctx context.Context) (string, error) {
	const folder = "/machine/unattached"
	tree, err := m.Monitor(ctx, "info qom-tree "+folder)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(tree) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "(pl061)" {
			return folder + name, nil
		}
	}
	return "", errors.New("qemu: the machine has no PL061")
}
