// Package journeys follows two messages through a running cloud and holds
// docs/journeys.md to what it sees: the functions that the document names exist
// in the files it links to, those of one descent are called in its order,
// and the acknowledgement comes after the work.
package journeys

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
)

const (
	patience = 20 * time.Second
	document = "../../docs/journeys.md"
	ancestry = "tracebackancestors=8"
)

// step is one row of a journey's table.
type step struct {
	function string // package path below internal, dot, name as the runtime has it
	file     string // relative to the module
	shown    string // how the test knows: "descent X" for being called, in order, in the stack X; "source" for existing
}

var row = regexp.MustCompile("^\\| *\\d+ *\\| *\\[`([^`]+)`\\]\\(\\.\\./([^)]+)\\) *\\|.*\\| *([^|]+?) *\\|$")

// journeys returns the tables of the document by the heading above them.
func journeys(t *testing.T) map[string][]step {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]step{}
	heading := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "## "); ok {
			heading = h
		}
		if m := row.FindStringSubmatch(line); m != nil {
			all[heading] = append(all[heading], step{m[1], m[2], m[3]})
		} else if regexp.MustCompile(`^\| *\d`).MatchString(line) {
			t.Errorf("a row that cannot be read: %s", line)
		}
	}
	return all
}

// TestFunctionsExist finds every function of the document in its file.
func TestFunctionsExist(t *testing.T) {
	n := 0
	for _, steps := range journeys(t) {
		for _, s := range steps {
			n++
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", s.file), nil, 0)
			if err != nil {
				t.Errorf("%s: %v", s.function, err)
				continue
			}
			dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(s.file)), "internal/")
			if name, ok := strings.CutPrefix(s.function, dir+"."); !ok || !declares(f, name) {
				t.Errorf("%s is not in %s", s.function, s.file)
			}
		}
	}
	if n < 20 {
		t.Errorf("the document names %d functions only", n)
	}
}

// declares reports whether a file has the function, written as F, (*T).F or T.F.
func declares(f *ast.File, name string) bool {
	for _, d := range f.Decls {
		fd, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		full := fd.Name.Name
		if fd.Recv != nil {
			switch r := fd.Recv.List[0].Type.(type) {
			case *ast.StarExpr:
				if id, ok := r.X.(*ast.Ident); ok {
					full = "(*" + id.Name + ")." + full
				}
			case *ast.Ident:
				full = r.Name + "." + full
			}
		}
		if full == name {
			return true
		}
	}
	return false
}

// world is a cloud whose calls are watched.
type world struct {
	*cloud.Cloud
	t      *testing.T
	stacks *stacks
	spans  *tracetest.SpanRecorder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot start itself again in its place")
	}
	if !strings.Contains(os.Getenv("GODEBUG"), ancestry) {
		t.Fatalf("this test needs GODEBUG=%s; TestMain sets it", ancestry)
	}
	w := &world{t: t, stacks: &stacks{}, spans: tracetest.NewSpanRecorder()}
	sdk := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	t.Cleanup(func() {
		if err := sdk.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Listen = config.Listen{HTTPS: "127.0.0.1:0", MQTT: "127.0.0.1:0", AMQP: "127.0.0.1:0"}
	cfg.Hubs = []config.Hub{{Name: "localhost", Partitions: 2}}
	cfg.Stop.Drain = config.Duration(2 * time.Second)
	var err error
	if w.Cloud, err = cloud.New(t.Context(), cfg, cloud.Options{Devices: []string{"d1"}, Tracer: &provider{TracerProvider: sdk, stacks: w.stacks}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case <-w.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return w
}

func (w *world) options() client.Options {
	w.t.Helper()
	conn := w.Connection()
	ca, err := os.ReadFile(conn.CAFile)
	if err != nil {
		w.t.Fatal(err)
	}
	roots, err := client.LoadCA(ca)
	if err != nil {
		w.t.Fatal(err)
	}
	return client.Options{RootCAs: roots, HTTPSPort: conn.HTTPSPort, MQTTPort: conn.MQTTPort, Address: "127.0.0.1"}
}

func (w *world) connect(ctx context.Context, desired func(context.Context, causeway.Patch)) *client.Device {
	w.t.Helper()
	d, err := client.Connect(ctx, client.DeviceOptions{
		Options: w.options(), ConnectionString: w.Connection().DeviceConnectionString, Desired: desired,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

// ended reports whether a span of this name has ended.
func (w *world) ended(name string) bool {
	for _, s := range w.spans.Ended() {
		if s.Name() == name {
			return true
		}
	}
	return false
}

// check holds the steps of a journey to what was seen.
func (w *world) check(steps []step) {
	w.t.Helper()
	if len(steps) == 0 {
		w.t.Fatal("the document does not have this journey")
	}
	seen := map[string][]string{} // by the name of the descent
	var order []string
	for _, s := range steps {
		how, name, _ := strings.Cut(s.shown, " ")
		switch how {
		case "descent":
			if seen[name] == nil {
				order = append(order, name)
			}
			seen[name] = append(seen[name], s.function)
		case "source":
		default:
			w.t.Errorf("%s: %q is no way to show it", s.function, s.shown)
		}
	}
	if len(order) == 0 {
		w.t.Fatal("the document calls nothing seen")
	}
	for _, name := range order {
		if best, missing := w.stacks.through(seen[name]); missing != "" {
			w.t.Errorf("descent %s: %s is not called where the document says; nearest:\n  %s", name, missing, strings.Join(best, "\n  "))
		}
	}
}

// TestTelemetry sends one message up.
func TestTelemetry(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := w.connect(ctx, nil)
	if err := d.Send(ctx, &causeway.Message{Body: []byte("x"), ContentType: "text/plain", Properties: []causeway.Property{{Key: "k", Value: "v"}}}); err != nil {
		t.Fatal(err)
	}
	// The PUBACK is sent as the stack unwinds: the span is over.
	if !w.ended("hub.send") {
		t.Error("the device has its acknowledgement, but Send has not returned")
	}
	w.check(journeys(t)["A telemetry message"])
}

// TestDesired sends one desired property down.
func TestDesired(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	patches := make(chan causeway.Patch, 10)
	w.connect(ctx, func(_ context.Context, p causeway.Patch) { patches <- p })
	s, err := client.NewService(w.Connection().OwnerConnectionString, w.options())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tw, err := s.Twin(ctx, "d1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateTwin(ctx, "d1", "", client.TwinPatch{Desired: []byte(`{"interval":5}`)}, tw.ETag); err != nil {
		t.Fatal(err)
	}
	for arrived := false; !arrived; {
		select {
		case p := <-patches:
			arrived = strings.Contains(string(p.Properties), `"interval":5`)
		case <-ctx.Done():
			t.Fatal("the change did not arrive")
		}
	}
	for !w.ended("hub.desired") || !w.ended("iothub.patchTwin") { // both end after the packet is out
		if ctx.Err() != nil {
			t.Fatal("no spans hub.desired and iothub.patchTwin")
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // polls with a deadline
	}
	w.check(journeys(t)["A desired property"])
}
