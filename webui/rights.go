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

// A part of the box that the page may have or not.
type part int

const (
	always part = iota
	queue       // with a QueueBackend
	system      // with a SystemBackend
)

// A route is one thing that the page can do. Nothing answers that is not in a
// table below: the router is built from them alone.
type route struct {
	method, pattern string
	right           right
	handle          func(*Server, *visit)
	needs           part // without it the route is not there
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
	base := []route{
		{http.MethodGet, "/assets/{name}", open, (*Server).asset, always},
	}
	switch m {
	case unclaimed:
		return append(base,
			route{http.MethodGet, "/{$}", open, (*Server).toClaim, always},
			route{http.MethodGet, "/claim", open, (*Server).claimPage, always},
			route{http.MethodPost, "/claim", open, (*Server).claimCode, always},
			route{http.MethodGet, "/claim/owner", open, (*Server).ownerPage, always},
			route{http.MethodPost, "/claim/owner", open, (*Server).ownerMake, always},
		)
	case claimed:
		return append(append(base,
			route{http.MethodGet, "/login", open, (*Server).loginPage, always},
			route{http.MethodPost, "/login", open, (*Server).login, always},
			route{http.MethodPost, "/logout", look, (*Server).logout, always},
			route{http.MethodGet, "/{$}", look, (*Server).home, always},
			route{http.MethodGet, "/waiting", look, (*Server).waiting, always},
			route{http.MethodPost, "/waiting/retry", retry, (*Server).waitingRetry, always},
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
		), systemRoutes()...)
	}
	return append(base,
		route{http.MethodGet, "/{$}", open, (*Server).statusPage, always},
	)
}

// rightsOf lists what a person may do. There is one kind of person so far, the
// owner, who may do everything.
func rightsOf(string) []right { return []right{look, retry, act, mail, settings} }
