package journeys

import (
	"context"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const module = "github.com/causeway-iot/causeway/"

// stacks remembers through which functions of this module calls went: whenever
// a span begins, and whenever code below it looks at its context. With
// GODEBUG=tracebackancestors a stack goes on with that of whoever started the
// goroutine.
type stacks struct {
	mu   sync.Mutex
	seen map[string][]string // by themselves, joined
}

// frame matches the line of a stack that names a function of this module.
var frame = regexp.MustCompile(`^` + regexp.QuoteMeta(module) + `(?:internal/)?(\S+)\(`)

// note adds the present stack, outermost function first.
func (s *stacks) note() {
	buf := make([]byte, 64<<10)
	var chain []string
	for line := range strings.Lines(string(buf[:runtime.Stack(buf, false)])) {
		m := frame.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(m[1], "test/journeys") {
			continue
		}
		chain = append(chain, m[1])
	}
	slices.Reverse(chain)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string][]string{}
	}
	s.seen[strings.Join(chain, "\n")] = chain
}

// through returns the stack that has the most of want in its order, and the
// first of want that it lacks, "" for none.
func (s *stacks) through(want []string) (best []string, missing string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := -1
	for _, chain := range s.seen {
		n := 0
		for _, f := range chain {
			// A closure belongs to the function it is written in.
			if n < len(want) && (f == want[n] || strings.HasPrefix(f, want[n]+".")) {
				n++
			}
		}
		if n > most {
			best, most = chain, n
		}
	}
	if most < len(want) {
		return best, want[max(most, 0)]
	}
	return best, ""
}

// provider hands spans on to another provider and takes the stacks.
type provider struct {
	trace.TracerProvider
	stacks *stacks
}

func (p *provider) Tracer(name string, o ...trace.TracerOption) trace.Tracer {
	return &tracer{Tracer: p.TracerProvider.Tracer(name, o...), stacks: p.stacks}
}

type tracer struct {
	trace.Tracer
	stacks *stacks
}

func (t *tracer) Start(ctx context.Context, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.stacks.note()
	ctx, span := t.Tracer.Start(ctx, name, o...)
	return &probe{ctx, t.stacks}, span
}

// probe is a context that notes who looks at it.
type probe struct {
	parent context.Context
	stacks *stacks
}

func (p *probe) Deadline() (time.Time, bool) { p.stacks.note(); return p.parent.Deadline() }
func (p *probe) Done() <-chan struct{}       { p.stacks.note(); return p.parent.Done() }
func (p *probe) Err() error                  { p.stacks.note(); return p.parent.Err() }
func (p *probe) Value(key any) any           { return p.parent.Value(key) }
