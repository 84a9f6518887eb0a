// Package state is everything a command sees of the world outside its process:
// arguments, environment, working directory, standard streams, signals, files
// and the name of the machine. [OS] is the real one; a test fills in its own
// and runs whole commands in memory.
//
// It knows no commands and no configuration.
package state

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// State is the world of one command. It is read-only once a command runs, and
// safe for concurrent use as far as its streams are.
type State struct {
	Args []string // without the program's name
	Env  []string // KEY=value, later entries win
	Dir  string   // working directory; relative paths are relative to it

	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// Whether a person looks at the stream: colours, progress bars and live
	// screens depend on it.
	StdoutTerminal bool
	StderrTerminal bool
	// Width returns the columns of the terminal, 0 when unknown.
	Width func() int

	// Notify returns a context that ends at the first interrupt or
	// termination signal. A second signal ends the process at once. Nil means
	// that there are no signals.
	Notify func(ctx context.Context) (context.Context, context.CancelFunc)

	// Hostname returns the name of the machine.
	Hostname func() (string, error)

	// Version is what whoever built the program calls it, "" for nothing.
	Version string
}

// OS returns the real world.
func OS() *State {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	return &State{
		Args: os.Args[1:], Env: os.Environ(), Dir: dir,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width: func() int {
			w, _, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil {
				return 0
			}
			return w
		},
		Notify:   notify,
		Hostname: os.Hostname,
	}
}

func notify(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	// Once the first signal has arrived the default action is restored, so
	// that a second Ctrl-C ends a stop that takes too long.
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Signals returns ctx bound to the signals of the world.
func (s *State) Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Notify == nil {
		return context.WithCancel(ctx)
	}
	return s.Notify(ctx)
}

// Getenv returns the value of an environment variable and whether it is set.
func (s *State) Getenv(key string) (string, bool) {
	for i := len(s.Env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(s.Env[i], "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

// Path makes name absolute: relative names are relative to Dir, and a leading
// "~/" is the home directory.
func (s *State) Path(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		if home, ok := s.Getenv("HOME"); ok {
			name = filepath.Join(home, rest)
		}
	}
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Dir, name)
}

// MaxFile bounds the files a command reads whole.
const MaxFile = 16 << 20

// ReadFile reads a file of at most [MaxFile] bytes; "-" is standard input.
func (s *State) ReadFile(name string) ([]byte, error) {
	r := s.Stdin
	if name != "-" {
		f, err := os.Open(s.Path(name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, MaxFile>>20)
	}
	return b, nil
}
