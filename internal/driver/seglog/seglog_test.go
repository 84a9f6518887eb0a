package seglog_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		beKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// quiet is a log whose lines show only when a test fails.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestContract(t *testing.T) {
	logtest.Run(t, func(t *testing.T, o logtest.Options) eventlog.Log {
		l, err := seglog.Open(o.Dir, seglog.Options{Partitions: o.Partitions, SegmentBytes: seglog.MinSegmentBytes, Log: quiet(t)})
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
}
