package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gatepost/image"
)

const usage = `usage: gatepost-image COMMAND [flags] [FOLDER...]

  build    build the image
  kernel   only fetch and unpack the kernel
  lock     lock the newest kernel and boot stub that Debian offers
  info     tell what is in an image
  verify   rebuild the image in FOLDER and say whether it is the same
  compare  hold the images in two folders against each other

"gatepost-image COMMAND -h" lists a command's flags.`

// run does one command.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command given\n%s", usage)
	}
	commands := map[string]func(context.Context, options) error{
		"build": build, "kernel": fetchKernel, "lock": lock, "info": info,
		"verify": verify, "compare": compare,
	}
	command, ok := commands[args[0]]
	if !ok {
		if strings.Trim(args[0], "-") == "help" || args[0] == "-h" {
			fmt.Println(usage)
			return nil
		}
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	o, err := parse(args[0], args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return command(ctx, o)
}

// options are the flags of all commands.
type options struct {
	spec    image.Spec
	folders []string
	out     io.Writer
}

// folderCount is how many folders a command takes; none is named for the rest.
var folderCount = map[string]int{"verify": 1, "compare": 2}

func parse(name string, args []string) (options, error) {
	var profile string
	o := options{out: os.Stdout, spec: image.Spec{Progress: os.Stderr}}
	flags := flag.NewFlagSet("gatepost-image "+name, flag.ContinueOnError)
	flags.StringVar(&o.spec.Source, "source", ".", "`folder` of the module gatepost")
	flags.StringVar(&o.spec.Out, "out", "", "`folder` for the artefacts (default build/image below -source)")
	flags.StringVar(&profile, "profile", "qemu-virt", "board `profile`")
	flags.StringVar(&o.spec.Version, "version", "", "`version` to stamp (default: git describe)")
	flags.StringVar(&o.spec.Init, "init", "", "finished executable to use as /init instead of building one")
	flags.BoolVar(&o.spec.DirectOnly, "direct", false, "build only kernel and initramfs, for booting in a virtual machine")
	flags.StringVar(&o.spec.Kernel.Lock, "lock", "", "lock `file` (default "+image.LockFile+" below -source)")
	flags.StringVar(&o.spec.Kernel.Cache, "cache", "", "`folder` for downloads (default: gatepost in the user's cache folder)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	want := folderCount[name]
	if flags.NArg() < want {
		return o, fmt.Errorf("%s: %d folders given, want %d", name, flags.NArg(), want)
	}
	if flags.NArg() > want {
		return o, fmt.Errorf("%s: unexpected argument %q", name, flags.Arg(want))
	}
	o.folders = flags.Args()
	var err error
	o.spec.Profile, err = image.Profile(profile)
	if err != nil {
		return o, err
	}
	if o.spec.Out == "" {
		o.spec.Out = filepath.Join(o.spec.Source, "build", "image")
	}
	return o, nil
}

func build(ctx context.Context, o options) error {
	m, err := image.Build(ctx, o.spec)
	if err != nil {
		return err
	}
	fmt.Fprint(o.out, image.Summary(m))
	return nil
}

func fetchKernel(ctx context.Context, o options) error {
	k, err := image.FetchKernel(ctx, o.spec)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%s: kernel %s, %d modules\n", k.Package, k.Release, len(k.Modules))
	return nil
}

func lock(ctx context.Context, o options) error {
	before, now, err := image.Relock(ctx, o.spec)
	if err != nil {
		return err
	}
	if before == now {
		fmt.Fprintf(o.out, "%s and %s are the newest and were locked before\n", now.Kernel, now.Stub)
		return nil
	}
	fmt.Fprintf(o.out, "locked %s and %s\n", now.Kernel, now.Stub)
	return nil
}

func info(_ context.Context, o options) error {
	m, err := image.ReadManifest(o.spec.Out)
	if err != nil {
		return err
	}
	fmt.Fprint(o.out, image.Summary(m))
	return nil
}

func verify(ctx context.Context, o options) error {
	return image.Verify(ctx, o.spec, o.folders[0], o.out)
}

// compare ends with the line that make reproducible ends with.
func compare(_ context.Context, o options) error {
	n, equal, err := image.Compare(o.folders[0], o.folders[1], o.out)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "reproducible artefacts=%d equal=%d\n", n, equal)
	if equal < n {
		return image.ErrDiffers
	}
	return nil
}
