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

	one    sync.Mutex // one command at a time
	broken error      // an answer was given up: those to come would be its
}

func newQTest(conn net.Conn) *qtest {
	return &qtest{conn: conn, answers: make(chan string, 1)}
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

// execute sends one command and waits for its answer.
func (q *qtest) execute(ctx context.Context, command string) error {
	q.one.Lock()
	defer q.one.Unlock()
	if q.broken != nil {
		return q.broken
	}
	if _, err := fmt.Fprintln(q.conn, command); err != nil {
		return fmt.Errorf("qemu: qtest: %w", err)
	}
	select {
	case line, ok := <-q.answers:
		if !ok {
			return errQMPClosed
		}
		if !strings.HasPrefix(line, "OK") {
			return fmt.Errorf("qemu: qtest: %s: %s", command, line)
		}
		return nil
	case <-ctx.Done():
		q.broken = fmt.Errorf("qemu: qtest: %w", ctx.Err())
		return q.broken
	}
}

// SetLine drives a GPIO line that the guest uses as an input, as a button on
// it would. The machine must have been started with Config.QTest.
func (m *Machine) SetLine(ctx context.Context, line int, high bool) error {
	if m.qtest == nil {
		return errors.New("qemu: the machine was started without QTest")
	}
	chip, err := m.gpioChip(ctx)
	if err != nil {
		return err
	}
	level := 0
	if high {
		level = 1
	}
	return m.qtest.execute(ctx, fmt.Sprintf("set_irq_in %s unnamed-gpio-in %d %d", chip, line, level))
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
