package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/state"
)

func TestExitCodes(t *testing.T) {
	code := func(c causeway.Code) error { return fmt.Errorf("wrapped: %w", &causeway.Error{Code: c, Op: "do"}) }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{errors.New("x"), ExitFailure},
		{usagef("x"), ExitUsage},
		{code(causeway.DeviceNotFound), ExitNotFound},
		{code(causeway.DeviceNotOnline), ExitNotFound},
		{code(causeway.DeviceAlreadyExists), ExitConflict},
		{code(causeway.PreconditionFailed), ExitConflict},
		{code(causeway.IotHubUnauthorized), ExitUnauthorized},
		{code(causeway.GenericForbidden), ExitUnauthorized},
		{code(causeway.DeviceMaximumQueueDepthExceeded), ExitFailure},
		{code(causeway.GatewayTimeout), ExitUnreachable},
		{code(causeway.ServerBusy), ExitUnreachable},
		{code(causeway.ArgumentInvalid), ExitFailure},
		{code(causeway.ServerError), ExitFailure},
		{context.DeadlineExceeded, ExitUnreachable},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, ExitUnreachable},
		{&net.OpError{Op: "listen", Err: errors.New("in use")}, ExitFailure},
		{&net.DNSError{}, ExitUnreachable},
		{x509.UnknownAuthorityError{}, ExitUnreachable},
		{io.ErrUnexpectedEOF, ExitUnreachable},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	err := fmt.Errorf("x: %w", &causeway.Error{Code: causeway.DeviceNotFound, Op: "get device", Msg: "no d1", Err: errors.New("secret")})
	if got := explain(err); got != "Error: get device: no d1 (DeviceNotFound)" {
		t.Error(got)
	}
	if got := explain(&net.OpError{Op: "dial", Err: errors.New("refused")}); !strings.Contains(got, "\nHint: is the cloud running?") {
		t.Error(got)
	}
}

type sample struct {
	Name string          `json:"name"`
	Zero string          `json:"zero"`
	No   string          `json:"no"`
	List []int           `json:"list"`
	Raw  json.RawMessage `json:"raw"`
}

func TestOutputFormats(t *testing.T) {
	v := sample{Name: "a b", No: "no", List: []int{1}, Raw: json.RawMessage(`{"z":1,"a":{}}`)}
	for format, want := range map[string]string{
		outJSON:  "{\n  \"name\": \"a b\",\n  \"zero\": \"\",\n  \"no\": \"no\",\n  \"list\": [\n    1\n  ],\n  \"raw\": {\n    \"z\": 1,\n    \"a\": {}\n  }\n}\n",
		outYAML:  "name: a b\nzero: \"\"\n\"no\": \"no\"\nlist:\n  - 1\nraw:\n  z: 1\n  a: {}\n",
		outTable: "NAME  WHEN                  NONE  TEXT\na b   2024-01-31 12:00:00Z  -     x y\n",
	} {
		var b bytes.Buffer
		o := addOutput(&cobra.Command{}, &state.State{Stdout: &b})
		o.format = format
		err := o.print(v, func(t *table) {
			t.row("NAME", "WHEN", "NONE", "TEXT")
			t.row(v.Name, time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC), time.Time{}, "x\ty")
		})
		if err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", format, err, b.String(), want)
		}
	}
	o := addOutput(&cobra.Command{}, &state.State{Env: []string{"CAUSEWAY_OUTPUT=xml"}})
	if err := o.print(v, nil); exitCode(err) != ExitUsage {
		t.Errorf("xml: %v", err)
	}
}

// What devices send must not reach the terminal as commands.
func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\u009b1mä\n"); got != "a·[2Jb·1mä·" {
		t.Errorf("%q", got)
	}
}

// Without the right to port 443 the quickstart says who needs it and how to
// grant it.
func TestQuickstartWithoutPort443(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	st := &state.State{Dir: dir, Stdout: &out, Stderr: io.Discard}
	q := &quickstart{st: st, conn: cloud.Connection{Hub: "localhost", HTTPSPort: 8443, MQTTPort: 8883}, fellBack: true, data: dir + "/elsewhere"}
	q.banner()
	for _, want := range []string{
		"may not use port 443", "HTTPS is on 8443", "Azure SDKs know no other port than 443", cloud.GrantCommand,
		"sysctl net.ipv4.ip_unprivileged_port_start=443", "--data ./elsewhere",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the banner does not say %q:\n%s", want, out.String())
		}
	}
}

// Every command explains itself: a short and, where it takes arguments or has
// no obvious meaning, how to use it.
func TestEveryCommandHasHelp(t *testing.T) {
	root := NewCmdRoot(&state.State{Stdout: io.Discard, Stderr: io.Discard})
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		if strings.HasSuffix(c.Short, ".") || c.Short[0] < 'A' || c.Short[0] > 'Z' {
			t.Errorf("%s: help %q is not a phrase", c.CommandPath(), c.Short)
		}
		if c.Runnable() && c.Args == nil && c.Name() != "help" {
			t.Errorf("%s accepts any arguments", c.CommandPath())
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(root)
}
