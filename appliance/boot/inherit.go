package boot

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// inheritEnv names the inherited descriptors from 3 upwards, separated by
// commas. The first is always the pipe with the payload.
const inheritEnv = "GATEPOST_FDS"

const (
	payloadName  = "payload"
	firstFD      = 3
	maxPayload   = 4 << 20 // bytes
	maxInherited = 16      // listeners
)

// ErrNothingInherited means that this process was not started by a Supervisor.
var ErrNothingInherited = errors.New("nothing was handed down to this process")

// Inherited is what a role got from the Supervisor that started it.
type Inherited struct {
	Payload   []byte
	Listeners map[string]net.Listener
}

// Close closes the listeners.
func (in Inherited) Close() {
	for _, l := range in.Listeners {
		l.Close()
	}
}

// Inherit takes over the descriptors that a Supervisor handed to this process
// and reads the payload to its end. getenv and unsetenv are those of os; the
// variable is removed, so that a second call returns ErrNothingInherited. The
// caller closes the listeners.
func Inherit(getenv func(string) string, unsetenv func(string) error) (Inherited, error) {
	list := getenv(inheritEnv)
	if list == "" {
		return Inherited{}, ErrNothingInherited
	}
	if err := unsetenv(inheritEnv); err != nil {
		return Inherited{}, err
	}
	names := strings.Split(list, ",")
	if names[0] != payloadName || len(names) > maxInherited+1 {
		return Inherited{}, fmt.Errorf("%s=%q is not a list of descriptors", inheritEnv, list)
	}
	for i := range names {
		syscall.CloseOnExec(firstFD + i)
	}

	pipe := os.NewFile(firstFD, payloadName)
	defer pipe.Close()
	payload, err := io.ReadAll(io.LimitReader(pipe, maxPayload+1))
	if err != nil {
		return Inherited{}, fmt.Errorf("reading the handed-down payload: %w", err)
	}
	if len(payload) > maxPayload {
		return Inherited{}, fmt.Errorf("the handed-down payload is larger than %d bytes", maxPayload)
	}

	in := Inherited{Payload: payload, Listeners: map[string]net.Listener{}}
	for i, name := range names[1:] {
		f := os.NewFile(uintptr(firstFD+1+i), name)
		if f == nil {
			in.Close()
			return Inherited{}, fmt.Errorf("descriptor %d (%s) was not handed down", firstFD+1+i, name)
		}
		l, err := net.FileListener(f) // works on a duplicate
		f.Close()
		if err != nil {
			in.Close()
			return Inherited{}, fmt.Errorf("descriptor %d (%s): %w", firstFD+1+i, name, err)
		}
		in.Listeners[name] = l
	}
	return in, nil
}
