package spool

import "errors"

var (
	// ErrFull means that the log has reached its threshold and takes no new
	// message. Answer the client with 452 4.3.1 before DATA. Outcomes can
	// still be recorded, as long as there is any room at all: call again
	// later when Record says it.
	ErrFull = errors.New("spool: no room for new messages")

	// ErrDamaged means that what is on the disk is not what was written, or
	// that the disk refused a write or a flush. From [Log.Append] and
	// [Log.Record] it means that nothing was promised: answer 451 4.3.0 and
	// let the client try again. From [Log.Open] and from reading a body it
	// means that this copy must not be sent on and that no better one will
	// come: return the message to its sender.
	ErrDamaged = errors.New("spool: the disk did not keep its word")

	// ErrNotFound means that no live message has this id.
	ErrNotFound = errors.New("spool: no such message")

	// ErrClosed means that Run has ended. Answer 421 4.3.2.
	ErrClosed = errors.New("spool: closed")

	// ErrTooBig means that an envelope, or the outcomes of one call, do not
	// fit into one record. Refuse the message with 552 5.3.4 or split the
	// outcomes.
	ErrTooBig = errors.New("spool: record too big")
)
