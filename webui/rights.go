package webui

import "net/http"

// A right is what a person must have for a route. The scopes of API keys will
// use the same words.
type right string

const (
	open  right = "open"  // no login
	look  right = "look"  // see
	retry right = "retry" // try mail again
	act   right = "act"   // pause, return and delete mail
	mail  right = "mail"  // read the messages themselves
	// settings is for the box itself: settings, backup, restart, reset.
	settings right = "settings"
)

// A route is one thing that the page can do. Nothing answers that is not in a
// table below: the router is built from them alone.
type route struct {
	method, pattern string
	right           right
	handle          func(*Server, *visit)
	part            part
}

// A part is what a route needs beside the Backend. Without it the route is not
// there.
type part int

const (
	basic  part = iota
	queue       // a QueueBackend
	rules       // a RulesBackend
	system      // a SystemBackend
)

func (s *Server) has(p part) bool {
	switch p {
	case queue:
		return s.cfg.Queue != nil
	case rules:
		return s.cfg.Rules != nil
	case system:
		return s.cfg.System != nil
	}
	return true
}

// mode is what the box's owner record allows.
type mode int

const (
	unclaimed mode = iota // no owner: only claiming
	claimed               // an owner: everything but claiming
	lame                  // no owner record can be read: only the state of the box
)

// routes lists what answers in a mode. A path that is not listed is 404.
func routes(m mode) []route {
	always := []route{
		{http.MethodGet, "/assets/{name}", open, (*Server).asset, basic},
	}
	switch m {
	case unclaimed:
		return append(always,
			route{http.MethodGet, "/{$}", open, (*Server).toClaim, basic},
			route{http.MethodGet, "/claim", open, (*Server).claimPage, basic},
			route{http.MethodPost, "/claim", open, (*Server).claimCode, basic},
			route{http.MethodGet, "/claim/owner", open, (*Server).ownerPage, basic},
			route{http.MethodPost, "/claim/owner", open, (*Server).ownerMake, basic},
		)
	case claimed:
		return append(append(always,
			route{http.MethodGet, "/login", open, (*Server).loginPage, basic},
			route{http.MethodPost, "/login", open, (*Server).login, basic},
			route{http.MethodPost, "/logout", look, (*Server).logout, basic},
			route{http.MethodGet, "/{$}", look, (*Server).home, basic},
			route{http.MethodGet, "/waiting", look, (*Server).waiting, basic},
			route{http.MethodPost, "/waiting/retry", retry, (*Server).waitingRetry, basic},
			route{http.MethodPost, "/waiting/pause", act, (*Server).waitingPause, queue},
			route{http.MethodPost, "/waiting/resume", act, (*Server).waitingResume, queue},
			route{http.MethodGet, "/waiting/return", act, (*Server).returnPage, queue},
			route{http.MethodPost, "/waiting/return", act, (*Server).returnMake, queue},
			route{http.MethodGet, "/waiting/delete", act, (*Server).deletePage, queue},
			route{http.MethodPost, "/waiting/delete", act, (*Server).deleteMake, queue},
			route{http.MethodPost, "/waiting/undo", act, (*Server).waitingUndo, queue},
			route{http.MethodGet, "/find", look, (*Server).find, queue},
			route{http.MethodGet, "/message/{id}", look, (*Server).message, queue},
			route{http.MethodGet, "/message/{id}/evidence", look, (*Server).evidence, queue},
			route{http.MethodGet, "/message/{id}/original", mail, (*Server).originalPage, queue},
			route{http.MethodPost, "/message/{id}/original", mail, (*Server).original, queue},
			route{http.MethodGet, "/others", look, (*Server).others, rules},
			route{http.MethodPost, "/others/reread", retry, (*Server).reread, rules},
			route{http.MethodGet, "/check", look, (*Server).checkPage, rules},
			route{http.MethodPost, "/check", retry, (*Server).check, rules},
			route{http.MethodGet, "/others/{domain}", look, (*Server).otherRules, rules},
		), systemRoutes()...)
	}
	return append(always,
		route{http.MethodGet, "/{$}", open, (*Server).statusPage, basic},
	)
}

// rightsOf lists what a person may do. There is one kind of person so far, the
// owner, who may do everything.
func rightsOf(string) []right { return []right{look, retry, act, mail, settings} }
