package webui

import "net/http"

// A right is what a person must have for a route. The scopes of API keys will
// use the same words.
type right string

const (
	open  right = "open"  // no login
	look  right = "look"  // see
	retry right = "retry" // try mail again
)

// A route is one thing that the page can do. Nothing answers that is not in a
// table below: the router is built from them alone.
type route struct {
	method, pattern string
	right           right
	handle          func(*Server, *visit)
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
		{http.MethodGet, "/assets/{name}", open, (*Server).asset},
	}
	switch m {
	case unclaimed:
		return append(always,
			route{http.MethodGet, "/{$}", open, (*Server).toClaim},
			route{http.MethodGet, "/claim", open, (*Server).claimPage},
			route{http.MethodPost, "/claim", open, (*Server).claimCode},
			route{http.MethodGet, "/claim/owner", open, (*Server).ownerPage},
			route{http.MethodPost, "/claim/owner", open, (*Server).ownerMake},
		)
	case claimed:
		return append(always,
			route{http.MethodGet, "/login", open, (*Server).loginPage},
			route{http.MethodPost, "/login", open, (*Server).login},
			route{http.MethodPost, "/logout", look, (*Server).logout},
			route{http.MethodGet, "/{$}", look, (*Server).home},
			route{http.MethodGet, "/waiting", look, (*Server).waiting},
			route{http.MethodPost, "/waiting/retry", retry, (*Server).waitingRetry},
		)
	}
	return append(always,
		route{http.MethodGet, "/{$}", open, (*Server).statusPage},
	)
}

// rightsOf lists what a person may do. There is one kind of person so far, the
// owner, who may do everything.
func rightsOf(string) []right { return []right{look, retry} }
