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
)

// A route is one thing that the page can do. Nothing answers that is not in a
// table below: the router is built from them alone.
type route struct {
	method, pattern string
	right           right
	handle          func(*Server, *visit)
	queue           bool // there only with a QueueBackend
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
		{http.MethodGet, "/assets/{name}", open, (*Server).asset, false},
	}
	switch m {
	case unclaimed:
		return append(always,
			route{http.MethodGet, "/{$}", open, (*Server).toClaim, false},
			route{http.MethodGet, "/claim", open, (*Server).claimPage, false},
			route{http.MethodPost, "/claim", open, (*Server).claimCode, false},
			route{http.MethodGet, "/claim/owner", open, (*Server).ownerPage, false},
			route{http.MethodPost, "/claim/owner", open, (*Server).ownerMake, false},
		)
	case claimed:
		return append(always,
			route{http.MethodGet, "/login", open, (*Server).loginPage, false},
			route{http.MethodPost, "/login", open, (*Server).login, false},
			route{http.MethodPost, "/logout", look, (*Server).logout, false},
			route{http.MethodGet, "/{$}", look, (*Server).home, false},
			route{http.MethodGet, "/waiting", look, (*Server).waiting, false},
			route{http.MethodPost, "/waiting/retry", retry, (*Server).waitingRetry, false},
			route{http.MethodPost, "/waiting/pause", act, (*Server).waitingPause, true},
			route{http.MethodPost, "/waiting/resume", act, (*Server).waitingResume, true},
			route{http.MethodGet, "/waiting/return", act, (*Server).returnPage, true},
			route{http.MethodPost, "/waiting/return", act, (*Server).returnMake, true},
			route{http.MethodGet, "/waiting/delete", act, (*Server).deletePage, true},
			route{http.MethodPost, "/waiting/delete", act, (*Server).deleteMake, true},
			route{http.MethodPost, "/waiting/undo", act, (*Server).waitingUndo, true},
			route{http.MethodGet, "/find", look, (*Server).find, true},
			route{http.MethodGet, "/message/{id}", look, (*Server).message, true},
			route{http.MethodGet, "/message/{id}/evidence", look, (*Server).evidence, true},
			route{http.MethodGet, "/message/{id}/original", mail, (*Server).originalPage, true},
			route{http.MethodPost, "/message/{id}/original", mail, (*Server).original, true},
		)
	}
	return append(always,
		route{http.MethodGet, "/{$}", open, (*Server).statusPage, false},
	)
}

// rightsOf lists what a person may do. There is one kind of person so far, the
// owner, who may do everything.
func rightsOf(string) []right { return []right{look, retry, act, mail} }
