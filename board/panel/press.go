package panel

import (
	"context"
	"errors"

	"gatepost/board"
	"gatepost/board/button"
	"gatepost/board/gpio"
)

// inputDir is where the kernel has its keys.
const inputDir = "/dev/input"

func (p *Panel) openButton(c Config) {
	b := c.Profile.Button
	switch {
	case b == (board.Button{}):
		return
	case c.NoButton:
		p.find("button", b.Where(), errors.New("switched off in the settings"))
		p.profile.Button = board.Button{}
		return
	case b.Key != 0: // its device may come later
		p.find("button", b.Where(), nil)
		return
	}
	input, err := gpio.OpenInput(b, c.Log)
	p.find("button", b.Where(), err)
	if err == nil {
		p.input = &input
	} else {
		p.profile.Button = board.Button{}
	}
}

// HasButton tells whether there is a button to watch.
func (p *Panel) HasButton() bool {
	return p.input != nil || p.profile.Button.Key != 0
}

// Watch tells w of the button until ctx is done, and lets it go. It is called
// once, by one who has asked HasButton, and always returns nil.
func (p *Panel) Watch(ctx context.Context, w button.Watcher) error {
	levels := make(chan bool)
	if p.input != nil {
		defer p.input.Close()
		go button.Line(ctx, p.input, p.profile.Button.ActiveLow, levels)
		err := w.Run(ctx, levels)
		for range levels { // until Line has ended
		}
		return err
	}
	keys := button.Keys{Dir: inputDir, Code: uint16(p.profile.Button.Key)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		send := func(pressed bool) {
			select {
			case levels <- pressed:
			case <-ctx.Done():
			}
		}
		send(false) // the kernel tells of changes alone
		_ = keys.Run(ctx, send)
	}()
	err := w.Run(ctx, levels)
	<-done
	return err
}
