package cli

import (
	"context"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"

	"github.com/causeway-iot/causeway/internal/app/state"
)

// fewSteps are done before anybody could read a progress bar.
const fewSteps = 20

// bar shows how far something long is, on a terminal only. It is safe for
// concurrent use.
type bar struct{ b *progressbar.ProgressBar }

func newBar(st *state.State, what string, of int) bar {
	if !st.StderrTerminal || of < fewSteps {
		return bar{}
	}
	return bar{progressbar.NewOptions(of,
		progressbar.OptionSetWriter(st.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100_000_000), progressbar.OptionClearOnFinish(),
	)}
}

func (b bar) step() {
	if b.b != nil {
		_ = b.b.Add(1) // what cannot be shown is not worth failing for
	}
}

func (b bar) set(n int) {
	if b.b != nil {
		_ = b.b.Set(n)
	}
}

func (b bar) done() {
	if b.b != nil {
		_ = b.b.Finish()
	}
}

// parallel calls f for 0 … n-1, at most limit at once, until one fails.
func parallel(ctx context.Context, limit, n int, f func(ctx context.Context, i int) error) error {
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i := 0; i < n && all.Err() == nil; i++ {
		g.Go(func() error { return f(all, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // it may have ended before all were begun
}
