package spool

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// messageMeta is the JSON of a message record.
type messageMeta struct {
	Envelope
	// Parts is the number of part records of a streamed message.
	Parts int `json:"parts,omitempty"`
}

const (
	// firstBuffer is what Append starts with for a body of unknown length. It
	// is used again and again.
	firstBuffer = 16 << 10
	// maxParts bounds the parts of a message.
	maxParts = 1 << 20
)

// Append keeps a message. It reads body to its end and returns the new id after
// the flush that covers the message: from then on the message is ours, and the
// client may be told 250.
//
// A body longer than one chunk (at most 256 KiB) is written while it is read,
// so memory does not grow with it and others are not held up. env.Size is set
// from the body.
//
// Errors: [ErrFull] (answer 452 4.3.1), [ErrDamaged] (451 4.3.0), [ErrTooBig],
// [ErrClosed], the error of ctx or of body; nothing was promised then. When ctx
// ends while the flush is under way Append waits for it and tells the truth.
func (l *Log) Append(ctx context.Context, env Envelope, body io.Reader) (ID, error) {
	if len(env.Rcpts) == 0 {
		return "", errors.New("spool: message without recipients")
	}
	if err := l.CanAccept(0); err != nil {
		return "", err
	}
	number := l.newNumber()
	first := l.buffers.Get().(*[]byte)
	defer l.buffers.Put(first) // nobody has it after submit
	buf, err := readChunk(body, (*first)[:headerSize], l.chunk+1)
	if err != nil {
		return "", fmt.Errorf("spool: read the message: %w", err)
	}
	if len(buf)-headerSize <= l.chunk {
		env.Size = int64(len(buf) - headerSize)
		return l.appendMessage(ctx, number, &env, buf, nil)
	}
	return l.appendStreamed(ctx, number, env, buf, body)
}

// readChunk appends to buf what body gives, until buf holds limit bytes after
// the header or body ends.
func readChunk(body io.Reader, buf []byte, limit int) ([]byte, error) {
	limit += headerSize
	for len(buf) < limit {
		if len(buf) == cap(buf) {
			bigger := make([]byte, len(buf), min(2*cap(buf), limit))
			copy(bigger, buf)
			buf = bigger
		}
		n, err := body.Read(buf[len(buf):min(cap(buf), limit)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// appendMessage writes the message record, which makes parts count.
func (l *Log) appendMessage(ctx context.Context, number uint64, env *Envelope, buf []byte, parts []place) (ID, error) {
	meta, err := json.Marshal(messageMeta{Envelope: *env, Parts: len(parts)})
	if err != nil {
		return "", fmt.Errorf("spool: envelope: %w", err)
	}
	if len(meta) > maxMeta {
		return "", ErrTooBig
	}
	if err := l.CanAccept(int64(len(buf) + len(meta))); err != nil {
		return "", err
	}
	req := newRequest(finishRecord(buf, kindMessage, number, meta), number)
	req.rcpts, req.parts = len(env.Rcpts), parts
	if err := l.submit(ctx, req); err != nil {
		return "", err
	}
	return formatID(number), nil
}

// appendStreamed writes a message of more than one chunk. buf holds, after a
// free header, the first chunk and one byte more.
func (l *Log) appendStreamed(ctx context.Context, number uint64, env Envelope, buf []byte, body io.Reader) (ID, error) {
	var parts []place
	// Until the message record counts, only the pins keep the parts.
	defer func() {
		for _, p := range parts {
			l.unpin(p.seg)
		}
	}()
	next := make([]byte, headerSize, headerSize+l.chunk+firstBuffer)
	for {
		// One byte more than a chunk was read, so that the last part is
		// known to be the last.
		rest := len(buf) > headerSize+l.chunk
		var carry []byte
		if rest {
			carry = append(carry, buf[headerSize+l.chunk:]...)
			buf = buf[:headerSize+l.chunk]
		}
		env.Size += int64(len(buf) - headerSize)
		if err := l.CanAccept(int64(len(buf))); err != nil {
			return "", err
		}
		var index [4]byte
		binary.LittleEndian.PutUint32(index[:], uint32(len(parts)))
		req := newRequest(finishRecord(buf, kindPart, number, index[:]), number)
		if err := l.submit(ctx, req); err != nil {
			return "", err
		}
		parts = append(parts, req.at)
		if !rest {
			break
		}
		var err error
		if next, err = readChunk(body, append(next[:headerSize], carry...), l.chunk+1); err != nil {
			return "", fmt.Errorf("spool: read the message: %w", err)
		}
		buf, next = next, buf[:headerSize]
	}
	return l.appendMessage(ctx, number, &env, make([]byte, headerSize, 1024), parts)
}

// Record keeps what has become of recipients of a message and returns after the
// flush that covers it. When all recipients of the message are done it is
// dead, its id is unknown from then on and its space will be used again.
//
// Outcomes for a recipient that is done already change nothing. Errors:
// [ErrNotFound], [ErrDamaged], [ErrFull], [ErrTooBig], [ErrClosed] or the error of ctx;
// the caller must then act as if nothing had been recorded, and call again.
func (l *Log) Record(ctx context.Context, id ID, outcomes ...Outcome) error {
	number, ok := parseID(id)
	if !ok {
		return ErrNotFound
	}
	if len(outcomes) == 0 {
		return nil
	}
	l.mu.Lock()
	m := l.index.live[number]
	n, last := 0, false
	if m != nil {
		n, last = len(m.out), m.ends(outcomes)
	}
	l.mu.Unlock()
	if m == nil {
		return ErrNotFound
	}
	for _, o := range outcomes {
		if o.Rcpt < 0 || o.Rcpt >= n {
			return fmt.Errorf("spool: message %s has no recipient %d", id, o.Rcpt)
		}
		if !o.Done() && o.State != StateWaiting {
			return fmt.Errorf("spool: unknown state %q", o.State)
		}
	}
	req, err := outcomeRequest(number, outcomes, last)
	if err != nil {
		return err
	}
	return l.submit(ctx, req)
}

// outcomeRequest returns the record of outcomes; when they are the last of
// their message, a dead record says all that anybody will ever ask for.
func outcomeRequest(number uint64, outcomes []Outcome, last bool) (*request, error) {
	kind, meta := byte(kindDead), []byte(nil)
	var marks []mark
	if !last {
		kind = kindOutcome
		var err error
		if meta, err = json.Marshal(outcomes); err != nil {
			return nil, fmt.Errorf("spool: outcomes: %w", err)
		}
		if len(meta) > maxMeta {
			return nil, ErrTooBig
		}
		marks = make([]mark, len(outcomes))
		for i, o := range outcomes {
			marks[i] = mark{o.Rcpt, o.Done()}
		}
	}
	req := newRequest(finishRecord(make([]byte, headerSize, headerSize+len(meta)+recordAlign), kind, number, meta), number)
	req.marks = marks
	return req, nil
}
