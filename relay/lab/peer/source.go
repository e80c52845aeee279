package peer

import (
	"context"
	"fmt"
	"time"
)

// Load is what smtp-source is to send.
type Load struct {
	To       string // address and port of the server
	Sessions int    // at the same time
	Messages int
	Size     int // bytes of a message's body
	From     string
	Rcpt     string
	// Keep sends further messages over an open connection; otherwise each
	// message has a connection of its own.
	Keep bool
}

// Send runs smtp-source to its end and returns how long that took. An error
// tells that a message was not taken; how many were is then unknown.
func Send(ctx context.Context, l Load) (time.Duration, error) {
	args := []string{
		"-4", "-C", "20", "-M", "client.office.example",
		"-s", fmt.Sprint(l.Sessions), "-m", fmt.Sprint(l.Messages), "-l", fmt.Sprint(l.Size), "-f", l.From, "-t", l.Rcpt,
	}
	if l.Keep {
		args = append(args, "-d")
	}
	began := time.Now()
	_, err := run(ctx, nil, "smtp-source", append(args, l.To)...)
	return time.Since(began), err
}

// Swaks runs swaks with the arguments, to its end, and returns the dialogue.
// The error tells that it did not get the answers that it wanted.
func Swaks(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, "swaks", args...)
}
