// Package scripts runs the command line as users do: each .txtar file is a
// script of commands against a cloud of its own, all in this process. The
// scripts read as documentation of what commands print and how they exit.
//
// Besides the commands of testscript there are:
//
//	causeway ARGS…            run the program; fails unless it exits with 0 (! for any other code)
//	exits CODE causeway ARGS… run the program and want this exit code
//	server [FLAGS…]           start a quickstart without sensor on free ports and wait until it is ready
//	background NAME ARGS…     run the program in the background
//	end NAME                  end what runs under NAME as Ctrl-C would; its output becomes stdout and stderr
//	await FILE                wait until a file is there
//	field FILE PATH [WANT]    a field of a JSON file is there, and equal to WANT when that is given
package scripts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli"
	"github.com/causeway-iot/causeway/internal/testkit/output"
)

// patience bounds everything a script waits for, on whatever machine. It is there
// for what hangs.
const patience = 5 * time.Minute

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Connections that idle in the pool of a client close in their own time.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	)
}

// stop is a command of testscript itself: it ends a script as passed there and then.
// What stands behind it would never be run.
func TestNoScriptStops(t *testing.T) {
	files, err := filepath.Glob("*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut("\n"+string(text), "\n-- ")
		if strings.Contains(script, "\nstop") {
			t.Errorf("%s: stop ends the whole script; end NAME ends what runs in the background", f)
		}
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: ".",
		Setup: func(e *testscript.Env) error {
			e.Values[jobsKey{}] = &jobs{running: map[string]*job{}}
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"causeway":   cmdCauseway,
			"exits":      cmdExits,
			"server":     cmdServer,
			"background": cmdBackground,
			"end":        cmdEnd,
			"await":      cmdAwait,
			"field":      cmdField,
		},
	})
}

// world is what a command sees when a script runs it.
func world(ts *testscript.TestScript, args []string, stdout, stderr io.Writer) *state.State {
	env := []string{"HOME=" + ts.Getenv("HOME")}
	for _, k := range []string{"CAUSEWAY_CONNECTION_STRING", "CAUSEWAY_DPS_CONNECTION_STRING", "CAUSEWAY_CA", "CAUSEWAY_DATA", "CAUSEWAY_OUTPUT", "CAUSEWAY_CONFIG", "CAUSEWAY_LISTEN_HTTPS"} {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return &state.State{
		Args: args, Env: env, Dir: ts.MkAbs("."), Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr,
		Hostname: func() (string, error) { return "test-machine", nil },
	}
}

func run(ts *testscript.TestScript, args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return cli.Main(ctx, world(ts, args, ts.Stdout(), ts.Stderr()))
}

func cmdCauseway(ts *testscript.TestScript, neg bool, args []string) {
	code := run(ts, args)
	if (code != 0) != neg {
		ts.Fatalf("causeway %s: exit code %d", strings.Join(args, " "), code)
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg || args[1] != "causeway" {
		ts.Fatalf("usage: exits CODE causeway ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if code := run(ts, args[2:]); code != want {
		ts.Fatalf("causeway %s: exit code %d, want %d", strings.Join(args[2:], " "), code, want)
	}
}

// jobs are what a script runs in the background.
type jobs struct{ running map[string]*job }

type jobsKey struct{}

type job struct {
	cancel         context.CancelFunc
	done           chan int
	stdout, stderr output.Buffer
}

func start(ts *testscript.TestScript, name string, args []string) *job {
	all := ts.Value(jobsKey{}).(*jobs)
	if all.running[name] != nil {
		ts.Fatalf("%s runs already", name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{cancel: cancel, done: make(chan int, 1)}
	all.running[name] = j
	w := world(ts, args, &j.stdout, &j.stderr)
	go func() { j.done <- cli.Main(ctx, w) }()
	ts.Defer(func() {
		if all.running[name] == j { // the script did not stop it
			j.cancel()
			j.wait(ts, name)
		}
	})
	return j
}

func (j *job) wait(ts *testscript.TestScript, name string) int {
	select {
	case code := <-j.done:
		return code
	case <-time.After(patience):
		ts.Logf("%s wrote:\n%s\n%s", name, j.stdout.String(), j.stderr.String())
		ts.Fatalf("%s did not end", name)
		return -1
	}
}

func cmdBackground(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: background NAME ARGS…")
	}
	start(ts, args[0], args[1:])
}

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	ready := ts.MkAbs("ready.json")
	ts.Check(errors.Join(os.RemoveAll(ready)))
	flags := []string{"quickstart", "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0", "--ready-file", "ready.json", "--drain", "2s"}
	if len(args) == 0 {
		args = []string{"--no-sensor", "--quiet"}
	}
	j := start(ts, "server", append(flags, args...))
	await(ts, "server", ready, j)
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: await FILE")
	}
	await(ts, args[0], ts.MkAbs(args[0]), nil)
}

// await waits for a file that a job will write; with a nil job, any may.
func await(ts *testscript.TestScript, name, file string, j *job) {
	var done chan int
	if j != nil {
		done = j.done
	}
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case code := <-done:
			ts.Fatalf("%s ended with %d before it was ready:\n%s", name, code, j.stderr.String())
		case <-deadline:
			ts.Fatalf("%s is not there after %v", file, patience)
		case <-tick.C:
		}
	}
}

func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: end NAME")
	}
	all := ts.Value(jobsKey{}).(*jobs)
	j := all.running[args[0]]
	if j == nil {
		ts.Fatalf("%s does not run", args[0])
	}
	j.cancel()
	code := j.wait(ts, args[0])
	delete(all.running, args[0])
	fmt.Fprint(ts.Stdout(), j.stdout.String())
	fmt.Fprint(ts.Stderr(), j.stderr.String())
	if (code != 0) != neg {
		ts.Fatalf("%s ended with %d:\n%s", args[0], code, j.stderr.String())
	}
}

// cmdField looks into a JSON file: field FILE a.b.0.c [WANT].
func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: field FILE PATH [WANT]")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	got, ok := lookup(v, strings.Split(args[1], "."))
	if !ok {
		if !neg {
			ts.Fatalf("%s has no field %s", filepath.Base(args[0]), args[1])
		}
		return
	}
	text := fmt.Sprint(got)
	if m, isText := got.(map[string]any); isText {
		b, err := json.Marshal(m)
		ts.Check(err)
		text = string(b)
	}
	if equal := len(args) == 2 || text == args[2]; equal == neg {
		ts.Fatalf("%s is %q", args[1], text)
	}
}

func lookup(v any, path []string) (any, bool) {
	for _, key := range path {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[key]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}
