package boardcmd

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatepost/appliance/cli"
	"gatepost/board"
	"gatepost/board/led"
	"gatepost/webui/words"
)

// The strip: a letter for each tenth of a second, so many in a line.
const (
	letter   = 100 * time.Millisecond
	lineLong = 60
	maxStrip = 10 * time.Minute
	frame    = 40 * time.Millisecond // of the live view
	fineStep = 10 * time.Millisecond // nothing that lights do is shorter
)

func simulate(ctx context.Context, env Env, args []string) error {
	f := flag.NewFlagSet("board simulate", flag.ContinueOnError)
	name := f.String("profile", "qemu-virt", "")
	want := f.String("state", "", "")
	length := f.Duration("for", 0, "")
	few := f.Int("lights", 0, "")
	if err := parse(f, args); err != nil {
		return err
	}
	if *length < 0 || *length > maxStrip {
		return cli.Usagef("-for %v is out of range: up to %v", *length, maxStrip)
	}
	p, _, err := env.profile(*name)
	if err != nil {
		return err
	}
	lights := p.Lights
	if len(lights) == 0 && p.Onboard != (board.Light{}) {
		lights = []board.Light{p.Onboard}
	}
	switch *few {
	case 0:
	case 1, 2, 4:
		lights = layout(*few)
	default:
		return cli.Usagef("-lights %d: a board has 4, 2 or 1", *few)
	}
	if len(lights) == 0 {
		return fmt.Errorf("the board %s has no lights here", p.Name)
	}
	chosen := states()
	if *want != "" {
		i := slices.IndexFunc(chosen, func(s state) bool { return s.name == *want })
		if i < 0 {
			return cli.Usagef("no state is called %q: there are %s", *want, strings.Join(stateNames(), ", "))
		}
		chosen = chosen[i : i+1]
	}
	book, err := words.Load("en")
	if err != nil {
		return err
	}
	v := view{env: env, lights: lights, voice: words.Voice{Book: book}}
	number := "1 light"
	if len(lights) > 1 {
		number = fmt.Sprintf("%d lights, from left to right", len(lights))
	}
	fmt.Fprintf(env.Out, "%s (%s), %s\n", p.Name, p.Title, number)
	for i, s := range chosen {
		if i > 0 && !env.Live {
			fmt.Fprintln(env.Out)
		}
		show := v.strip
		if env.Live && *length == 0 {
			show = v.live
		}
		long := *length
		if long == 0 && (len(chosen) > 1 || !env.Live) {
			long = s.length()
		}
		if err := show(ctx, s, long); err != nil {
			return err
		}
	}
	return nil
}

// layout gives lights that are nowhere, for a board with n of them.
func layout(n int) []board.Light {
	names := map[int][]string{
		1: {board.Status}, 2: {board.Status, board.Alert}, 4: {board.Status, board.Network, board.Mail, board.Alert},
	}
	var lights []board.Light
	for _, name := range names[n] {
		lights = append(lights, board.Light{Name: name})
	}
	return lights
}

// view shows the lights of one board.
type view struct {
	env    Env
	lights []board.Light
	voice  words.Voice
}

// warm begins a machine that has been healthy for a while, and tells it s.
func (v view) warm(s state, start time.Time) (*led.Machine, error) {
	m, err := led.NewMachine(len(v.lights), start.Add(-time.Minute))
	if err != nil {
		return nil, err
	}
	m.Set(led.Conditions{Link: true, Lease: true}, start.Add(-time.Minute))
	s.play(m, start, 0, 0)
	return m, nil
}

// strip writes what the lights show as letters: # lit, . dark, : both within a
// tenth of a second. No time passes.
func (v view) strip(_ context.Context, s state, long time.Duration) error {
	start := time.Unix(0, 0)
	m, err := v.warm(s, start)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.env.Out, "%s: %s\n", s.name, s.about)
	n := int(long / letter)
	rows := make([][]byte, len(v.lights))
	var before time.Duration
	for at := range n {
		lit := make([]int, len(rows))
		samples := 0
		for age := time.Duration(at) * letter; age < time.Duration(at+1)*letter; age += fineStep {
			s.play(m, start, before, age)
			before = age
			levels, _ := m.Levels(start.Add(age))
			for i, l := range levels {
				if l.Lit {
					lit[i]++
				}
			}
			samples++
		}
		for i, count := range lit {
			c := byte(':')
			switch count {
			case 0:
				c = '.'
			case samples:
				c = '#'
			}
			rows[i] = append(rows[i], c)
		}
	}
	for from := 0; from < n; from += lineLong {
		var head strings.Builder
		for second := from / 10; second < (min(from+lineLong, n)+9)/10; second++ {
			fmt.Fprintf(&head, "%-10s", fmt.Sprintf("%ds", second))
		}
		fmt.Fprintf(v.env.Out, "  %-8s%s\n", "", strings.TrimRight(head.String(), " "))
		for i, row := range rows {
			fmt.Fprintf(v.env.Out, "  %-8s%s\n", v.lights[i].Name, row[from:min(from+lineLong, n)])
		}
	}
	v.legend(m.Conditions())
	return nil
}

// legend says what the lights mean at the end, in the words of the page.
func (v view) legend(c led.Conditions) {
	if t, ok := v.voice.Light(string(c.Top())); ok {
		fmt.Fprintf(v.env.Out, "  = %s\n", t.Meaning)
	}
}

// live draws the lights in one line until ctx is done, or for long when it is
// not 0. A light is a mark between brackets: no colour is needed to read it.
func (v view) live(ctx context.Context, s state, long time.Duration) error {
	start := time.Now()
	m, err := v.warm(s, start)
	if err != nil {
		return err
	}
	tick := time.NewTicker(frame)
	defer tick.Stop()
	defer fmt.Fprintln(v.env.Out)
	var before time.Duration
	for {
		now := time.Now()
		age := now.Sub(start)
		s.play(m, start, before, age)
		before = age
		levels, _ := m.Levels(now)
		var line strings.Builder
		for i, l := range levels {
			mark := " "
			if l.Lit {
				mark = "#"
			}
			fmt.Fprintf(&line, "  %s (%s)", v.lights[i].Name, mark)
		}
		fmt.Fprintf(v.env.Out, "\r%s   %5.1f s  %s: %s ", line.String(), age.Seconds(), s.name, s.about)
		if long > 0 && age >= long {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
