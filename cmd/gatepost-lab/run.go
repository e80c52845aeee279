package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatepost/image"
	"gatepost/image/qemu"
	"gatepost/relay/lab"
)

// Folders below the module's root.
const (
	imageDir = "build/direct"
	runDir   = "build/lab"
)

// Ports on 127.0.0.1 that are tried first.
const (
	hostSMTP        = 2525
	hostSubmissions = 4465
	hostSubmission  = 5587
	hostHTTPS       = 8443
)

// leastMemoryMB is the memory with which the image boots: with 64 MB the kernel
// has no room to unpack it.
const leastMemoryMB = 96

// bootLimit bounds the wait for "ready": three times what a busy machine needs.
const bootLimit = 3 * time.Minute

// simulate is "gatepost-lab run": build the image, start the world, boot the
// appliance in it and tell what happens until Ctrl-C.
func simulate(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("gatepost-lab run", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fresh := fs.Bool("fresh", false, "begin with a new data disk; the old one is thrown away")
	memory := fs.Int("memory", qemu.DefaultMemoryMB, "memory of the appliance in MB")
	pcapFile := fs.String("pcap", "", "write every packet of the appliance to this file, for tcpdump or Wireshark")
	console := fs.Bool("console", false, "show the whole console of the appliance")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *memory < leastMemoryMB {
		return fmt.Errorf("-memory %d: the appliance needs at least %d MB", *memory, leastMemoryMB)
	}
	if err := buildImage(ctx, stdout); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing is half done, the next run goes on from here")
		}
		return err
	}
	world := lab.Office()
	st, err := openState(ctx, runDir, world, *fresh)
	if err != nil {
		return err
	}
	out := &lines{w: stdout}
	story := lab.NewStory(out, nil)
	cfg := rigConfig{
		Image: imageDir, Disk: st.Disk, CA: st.CA, World: world, OfficeSends: true,
		Events: story.Event, MemoryMB: *memory, PcapLimit: 1 << 30,
		OnLine: func(l qemu.Line) { tellConsole(out, l.Text, *console) },
	}
	if *pcapFile != "" {
		f, err := os.Create(*pcapFile)
		if err != nil {
			return err
		}
		defer f.Close()
		cfg.Pcap = f
	}
	fmt.Fprintf(out, "starting the simulated internet and the appliance (arm64, %d MB, emulated: this takes some seconds)\n", *memory)
	// The rig outlives Ctrl-C, so that the guest can be switched off cleanly.
	r, err := startRig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return err
	}
	err = r.serve(ctx, out, st)
	if ctx.Err() != nil {
		stop() // a second Ctrl-C ends everything at once
		err = r.goodbye(out)
	}
	return errors.Join(err, r.Close())
}

// buildImage brings the image up to date.
func buildImage(ctx context.Context, stdout io.Writer) error {
	profile, err := image.Profile("qemu-virt")
	if err != nil {
		return err
	}
	m, err := image.Build(ctx, image.Spec{Source: ".", Out: imageDir, Profile: profile, DirectOnly: true, Reuse: true, Progress: stdout})
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	fmt.Fprint(stdout, image.Summary(m))
	return nil
}

// serve waits for the guest to be ready, says how to reach it, and follows it
// until it ends or ctx is done.
func (r *rig) serve(ctx context.Context, out io.Writer, st state) error {
	bctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	ready, err := r.Machine.AwaitText(bctx, "gatepost: ready:")
	if err != nil {
		return fmt.Errorf("the appliance did not get ready: %w", err)
	}
	if err := r.greet(ctx, out, st, ready.At); err != nil {
		return err
	}
	end, err := r.Machine.Wait(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, fmt.Errorf("the appliance has ended: %s", end))
}

// greet opens the ports and prints how to use them.
func (r *rig) greet(ctx context.Context, out io.Writer, st state, after time.Duration) error {
	https, err1 := r.Forward(hostHTTPS, 443)
	smtp, err2 := r.Forward(hostSMTP, 25)
	subs, err3 := r.Forward(hostSubmissions, 465)
	sub, err4 := r.Forward(hostSubmission, 587)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Gatepost is ready, %.1f s after it was switched on.\n\n", after.Seconds())
	fmt.Fprintf(&b, "  Admin page   https://%s/\n", https)
	if code := r.claimCode(ctx); code != "" {
		fmt.Fprintf(&b, "  Claim code   %s\n", code)
	} else {
		fmt.Fprint(&b, "  Claim code   none: the box has an owner from an earlier run (make run ARGS=-fresh begins anew)\n")
	}
	fmt.Fprintf(&b, "  SMTP         %s (as a machine of the office)\n", smtp)
	fmt.Fprintf(&b, "  Submission   %s (TLS), %s (STARTTLS): user %s, password %s\n", subs, sub, deviceName, st.Password)
	host, port, _ := strings.Cut(smtp, ":")
	fmt.Fprintf(&b, "  Try          swaks --server %s --port %s --from you@office.example --to someone@good.example\n", host, port)
	fmt.Fprint(&b, "               other domains: make list\n")
	fmt.Fprint(&b, "  Stop         Ctrl-C switches the appliance off; the data disk is kept in "+runDir+"\n\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// claimWait bounds the wait for the claim code after "ready".
const claimWait = 20 * time.Second

var claimLine = regexp.MustCompile(`Claim code: ([0-9A-Z]{5}-[0-9A-Z]{5})`)

// claimCode reads the code from the console; "" when the box has an owner.
func (r *rig) claimCode(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	l, err := r.Machine.Await(ctx, func(s string) bool {
		return claimLine.MatchString(s) || strings.Contains(s, "has an owner")
	})
	if err != nil {
		return ""
	}
	if m := claimLine.FindStringSubmatch(l.Text); m != nil {
		return m[1]
	}
	return ""
}

// goodbye presses the power key.
func (r *rig) goodbye(out io.Writer) error {
	fmt.Fprintln(out, "\nswitching the appliance off ...")
	end, err := r.PowerOff(context.Background(), 30*time.Second)
	if err != nil {
		return fmt.Errorf("the appliance did not switch itself off: %w", err)
	}
	if !end.PoweredOff() {
		return fmt.Errorf("the appliance did not end cleanly: %s", end)
	}
	fmt.Fprintln(out, "the appliance has switched itself off; \"make run\" goes on where it was")
	return nil
}

// boxLine is a line of the guest's console that belongs into the story: what
// happened to mail, what the box says of itself.
var boxLine = regexp.MustCompile(`\b(mail [0-9a-z]{6,}: .*|rules of .*|gatepost: .*|All is well.*|Look here: .*|Broken: .*|storage: .*)`)

// tellConsole shows a line of the guest.
func tellConsole(out io.Writer, text string, all bool) {
	if all {
		fmt.Fprintln(out, "  console  "+text)
		return
	}
	if m := boxLine.FindString(text); m != "" {
		fmt.Fprintf(out, "%s  box: %s\n", time.Now().Format("15:04:05"), strings.TrimPrefix(m, "gatepost: "))
	}
}

// lines is a writer for whole lines from several goroutines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
