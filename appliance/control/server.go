package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where PID 1 serves.
const Socket = "/run/gatepost/control.sock"

// The rhythm of a stream: never more often than coalesce, never silent for
// longer than heartbeat.
const (
	coalesce  = 100 * time.Millisecond
	heartbeat = 5 * time.Second
)

// Limits on the clients.
const (
	maxStreams   = 32
	writeTimeout = 10 * time.Second
)

// Server serves a Hub on a unix socket.
type Server struct {
	Hub *Hub
	// UIDs are the users that may connect, as the kernel tells them.
	UIDs []uint32
	// Act does what a Request asks for; nil means that nothing can be asked. It
	// is called for one request at a time. ActUIDs are those of UIDs that may ask.
	Act     func(context.Context, Request) (Answer, error)
	ActUIDs []uint32
	Log     *slog.Logger // nil means discard

	heartbeat time.Duration // for tests; 0 means heartbeat
}

// Listen makes the socket at path, replacing one that a crash left behind.
// Every user may open it; the Server looks at who it is.
func Listen(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// Run serves on l, which must be a unix socket, until ctx is done; it closes l
// and all connections and returns nil, or the error of the listener.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	streams := make(chan struct{}, maxStreams)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/box", s.box)
	mux.HandleFunc("GET /v1/box/stream", func(w http.ResponseWriter, r *http.Request) {
		select {
		case streams <- struct{}{}:
			defer func() { <-streams }()
			s.stream(w, r)
		default:
			http.Error(w, "too many streams", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /v1/act", s.act(make(chan struct{}, 1)))
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if cc, ok := c.(*checkedConn); ok {
				return context.WithValue(ctx, uidKey{}, cc.uid)
			}
			return ctx
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err := srv.Serve(&checkedListener{Listener: l, uids: s.UIDs, log: log})
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) box(w http.ResponseWriter, _ *http.Request) {
	b, _ := s.Hub.Box()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(b)
}

// stream writes the Box now, after every change, and as a heartbeat.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	beat := s.heartbeat
	if beat <= 0 {
		beat = heartbeat
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for {
		b, next := s.Hub.Box()
		rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if enc.Encode(b) != nil || rc.Flush() != nil {
			return
		}
		if !wait(r.Context(), coalesce) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-next:
		case <-time.After(beat):
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// checkedListener drops connections of users who have no business here.
type checkedListener struct {
	net.Listener
	uids []uint32
	log  *slog.Logger
}

func (l *checkedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && slices.Contains(l.uids, uid) {
			return &checkedConn{Conn: c, uid: uid}, nil
		}
		l.log.Warn("control socket refused", "uid", uid, "error", err)
		c.Close()
	}
}

// peerUID asks the kernel who is at the other end (unix(7), SO_PEERCRED).
func peerUID(c net.Conn) (uint32, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var serr error
	if err := raw.Control(func(fd uintptr) {
		cred, serr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if serr != nil {
		return 0, serr
	}
	return cred.Uid, nil
}
