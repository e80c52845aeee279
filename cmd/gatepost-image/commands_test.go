package main

import (
	"strings"
	"testing"
)

func TestMistakesOnTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "no command"},
		{"bild", `unknown command "bild"`},
		{"verify", "0 folders given, want 1"},
		{"verify /nowhere", "/nowhere/manifest.json"},
		{"compare /nowhere", "1 folders given, want 2"},
		{"build extra", `unexpected argument "extra"`},
		{"build -colour blue", "colour"},
		{"build -profile toaster", "qemu-virt"},
		{"info -out /nowhere", "/nowhere/manifest.json"},
		{"build -source ../.. -lock /nowhere/lock -version 1 -out /proc/nowhere", "/proc/nowhere"},
	} {
		err := run(t.Context(), strings.Fields(tt.args))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want it to contain %q", tt.args, err, tt.want)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"build", "-h"}} {
		if err := run(t.Context(), args); err != nil {
			t.Errorf("%v: got %v", args, err)
		}
	}
}
