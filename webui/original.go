package webui

import (
	"errors"
	"io"
	"net/http"
	"time"

	"gatepost/webui/words"
)

// originalTime is how long the download of one message may take.
const originalTime = 10 * time.Minute

// originalBody asks for the password before the message itself is given out. A
// browser that somebody left open must not be enough to read other people's
// mail.
type originalBody struct {
	ID      string
	Trouble words.Text
}

func (s *Server) originalPage(v *visit) { s.showOriginal(v, http.StatusOK, nil) }

func (s *Server) showOriginal(v *visit, status int, trouble words.Text) {
	id := v.r.PathValue("id")
	if !goodID.MatchString(id) {
		s.fail(v, http.StatusNotFound, "message.none")
		return
	}
	s.show(v, status, "original", "original.title", originalBody{ID: id, Trouble: trouble})
}

// original checks the password and sends the message as it came in.
func (s *Server) original(v *visit) {
	id, person := v.r.PathValue("id"), v.session.Person
	if status, trouble := s.proves(v); status != 0 {
		s.showOriginal(v, status, trouble)
		return
	}
	if !goodID.MatchString(id) {
		s.fail(v, http.StatusNotFound, "message.none")
		return
	}
	in, err := s.cfg.Queue.Original(v.r.Context(), id)
	switch {
	case errors.Is(err, ErrGone):
		s.fail(v, http.StatusNotFound, "confirm.gone")
		return
	case err != nil:
		s.cfg.Log.Error("a message cannot be read", "id", id, "err", err)
		s.fail(v, http.StatusServiceUnavailable, "message.unreachable")
		return
	}
	defer in.Close()
	s.cfg.Log.Warn("a person downloads a message", "id", id, "person", person, "from", v.address())
	// A large message takes longer than a page.
	if err := http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(originalTime)); err != nil {
		s.cfg.Log.Debug("the time for a download could not be set", "err", err)
	}
	// Not message/rfc822: some browsers open that as a web page.
	v.download(id+".eml", "application/octet-stream")
	if _, err := io.Copy(v.w, in); err != nil {
		s.cfg.Log.Warn("the download of a message broke off", "id", id, "err", err)
		panic(http.ErrAbortHandler) // so that the browser does not take a part for the whole
	}
}
