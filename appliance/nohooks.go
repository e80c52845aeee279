//go:build !hooks

package appliance

import (
	"context"
	"time"
)

// hooks are how a test harms a running box. The program of the image has none:
// see hooks.go, which is compiled with the tag "hooks" alone.
type hooks struct{}

func (hooks) start(context.Context, *initProcess) {}

func (hooks) guard(may func(time.Time) (bool, string)) func(time.Time) (bool, string) { return may }
