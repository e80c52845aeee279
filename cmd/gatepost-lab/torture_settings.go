package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// saver is the person who changes settings while the power is cut: it changes
// config.toml with its trial and confirmation, and pauses and resumes the mail
// to one domain, which the relay keeps in its database.
type saver struct {
	page *page
	// What the box has confirmed, and what was on its way at the cut.
	generation, nextGeneration int
	paused, nextPaused         bool
	saves                      int
	busy                       chan struct{} // gets a value when a save is about to be sent
}

var slowGroup = regexp.MustCompile(`id="g-([0-9a-z]+)"[^>]*data-domain="` + regexp.QuoteMeta(tortureSlow) + `"[^>]*data-state="([a-z]+)"`)

// html is a page as it is sent.
func (s *saver) html(ctx context.Context, path string) (int, string, error) {
	status, body, err := s.page.raw(ctx, http.MethodGet, path, nil)
	return status, string(body), err
}

// look reads what the box has now.
func (s *saver) look(ctx context.Context) (generation int, paused bool, text, group string, err error) {
	status, body, err := s.html(ctx, "/system")
	m := inTextarea.FindStringSubmatch(body)
	if err != nil || status != http.StatusOK || m == nil {
		return 0, false, "", "", fmt.Errorf("the page does not show the settings: status %d, %w", status, errors.Join(err))
	}
	text = html.UnescapeString(m[1])
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, generationMark); ok {
			_, _ = fmt.Sscan(rest, &generation) // 0 is none
		}
	}
	status, body, err = s.html(ctx, "/waiting")
	if err != nil || status != http.StatusOK {
		return 0, false, "", "", fmt.Errorf("the page does not show the mail: status %d, %w", status, errors.Join(err))
	}
	if g := slowGroup.FindStringSubmatch(body); g != nil {
		group, paused = g[1], g[2] == "paused"
	} else {
		// Paused, though no mail waits there.
		_, others, ok := strings.Cut(body, `aria-labelledby="others"`)
		paused = ok && strings.Contains(others, tortureSlow)
	}
	return generation, paused, text, group, nil
}

// verify compares the box with what it has confirmed, and takes over what it
// has. lost names what is not as it must be.
func (s *saver) verify(ctx context.Context) (lost []string, err error) {
	generation, paused, _, _, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	if generation != s.generation && generation != s.nextGeneration {
		lost = append(lost, fmt.Sprintf("the settings have number %d, confirmed was %d, tried %d", generation, s.generation, s.nextGeneration))
	}
	if paused != s.paused && paused != s.nextPaused {
		lost = append(lost, fmt.Sprintf("%s is paused: %t, confirmed was %t", tortureSlow, paused, s.paused))
	}
	s.generation, s.nextGeneration, s.paused, s.nextPaused = generation, generation, paused, paused
	return lost, nil
}

// run saves one thing after the other until ctx is done.
func (s *saver) run(ctx context.Context) {
	for n := s.saves; ctx.Err() == nil; n++ {
		var err error
		if n%3 == 0 {
			err = s.saveConfig(ctx)
		} else {
			err = s.togglePause(ctx)
		}
		if err != nil {
			select {
			case <-time.After(200 * time.Millisecond): // the box is not there just now
			case <-ctx.Done():
			}
		}
	}
}

func (s *saver) announce() {
	select {
	case s.busy <- struct{}{}:
	default:
	}
}

// saveConfig tries settings with the next number and confirms them.
func (s *saver) saveConfig(ctx context.Context) error {
	_, _, settings, _, err := s.look(ctx)
	if err != nil {
		return err
	}
	next := s.nextGeneration + 1
	text := withGeneration(settings, fmt.Sprintf("%s%d", generationMark, next))
	s.nextGeneration = next // from here on it may be there
	s.announce()
	status, shown, err := s.page.post(ctx, "/system/try", url.Values{"text": {text}, "within": {"180"}, "password": {ownerPassword}})
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("try: status %d, %w: %.200s", status, errors.Join(err), shown)
	}
	_, body, err := s.html(ctx, "/system")
	if err != nil {
		return err
	}
	// What cuts nobody off from the page is kept without a trial.
	if m := inTrial.FindStringSubmatch(body); m != nil {
		s.announce()
		_, shown, err = s.page.post(ctx, "/system/confirm", url.Values{"trial": {m[1]}})
		if err != nil || !strings.Contains(shown, "The new settings are kept.") {
			return fmt.Errorf("confirm: %w: %.200s", errors.Join(err), shown)
		}
	} else if !strings.Contains(html.UnescapeString(body), fmt.Sprintf("%s%d\n", generationMark, next)) {
		return fmt.Errorf("not taken: %.300s", shown)
	}
	s.generation = next
	s.saves++
	return nil
}

// togglePause pauses the mail to slow, or resumes it.
func (s *saver) togglePause(ctx context.Context) error {
	_, paused, _, group, err := s.look(ctx)
	if err != nil || group == "" {
		return errors.Join(err, errors.New("nothing waits"))
	}
	path := "/waiting/pause"
	if paused {
		path = "/waiting/resume"
	}
	// What the box shows it has saved before: an earlier wish may have been done
	// although its answer was lost.
	s.paused, s.nextPaused = paused, !paused
	s.announce()
	if _, _, err := s.page.post(ctx, path, url.Values{"group": {group}}); err != nil {
		return err
	}
	if _, now, _, _, err := s.look(ctx); err != nil || now == paused {
		return errors.Join(err, errors.New("it was not done"))
	}
	s.paused = !paused
	s.saves++
	return nil
}
