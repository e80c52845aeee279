package smtpc

import (
	"context"
	"errors"
	"time"
)

var longAgo = time.Unix(1, 0)

// command sends one line and reads its reply.
func (c *Conn) command(ctx context.Context, phase string, limit time.Duration, line string) (reply, error) {
	if err := c.write(ctx, phase, limit, []byte(line+"\r\n")); err != nil {
		return reply{}, err
	}
	return c.await(ctx, phase, limit)
}

// write sends text at once.
func (c *Conn) write(ctx context.Context, phase string, limit time.Duration, text []byte) error {
	if !c.usable() {
		return ErrClosed
	}
	if err := c.unasked(phase); err != nil {
		return err
	}
	c.deadline(ctx, limit)
	if _, err := c.nc.Write(text); err != nil {
		return c.kill(&NetError{Phase: phase, Err: ctxErr(ctx, err)})
	}
	return nil
}

// unasked looks for a reply that nobody asked for: a 421 with which the server
// takes its leave, or one that would be taken for the answer to the next
// command, in the end for that to the message.
func (c *Conn) unasked(phase string) error {
	if c.br.Buffered() == 0 {
		return nil
	}
	_ = c.wire.SetDeadline(time.Now().Add(time.Second))
	rep, err := readReply(c.br, phase)
	if err == nil && rep.code == 421 {
		return c.refused(rep, phase)
	}
	return c.kill(&ProtocolError{Phase: phase, Detail: "a reply that nobody asked for"})
}

// await reads one reply within limit, all its lines included.
func (c *Conn) await(ctx context.Context, phase string, limit time.Duration) (reply, error) {
	if !c.usable() {
		return reply{}, ErrClosed
	}
	c.deadline(ctx, limit)
	rep, err := readReply(c.br, phase)
	if err != nil {
		var pe *ProtocolError
		if !errors.As(err, &pe) {
			err = &NetError{Phase: phase, Err: ctxErr(ctx, err)}
		}
		return reply{}, c.kill(err)
	}
	if c.debug {
		c.log.Debug("reply", "phase", phase, "code", rep.code)
	}
	return rep, nil
}

// watch makes the end of ctx end every wait until release is called. Whoever
// calls deadline must have called it with the same ctx.
func (c *Conn) watch(ctx context.Context) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.wire.SetDeadline(longAgo)
		close(done)
	})
	return func() {
		if !stop() {
			<-done // so that it does not fall upon the next step
		}
	}
}

// deadline limits what is read and written from now on.
func (c *Conn) deadline(ctx context.Context, limit time.Duration) {
	_ = c.wire.SetDeadline(time.Now().Add(limit))
	if ctx.Err() != nil { // it may have ended before the line above, and watch with it
		_ = c.wire.SetDeadline(longAgo)
	}
}

// ctxErr prefers the reason of ctx over the time-out that it caused.
func ctxErr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
