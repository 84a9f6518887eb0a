package output_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway/internal/testkit/output"
)

func TestBuffer(t *testing.T) {
	var b output.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	if b.String() != "" || b.Faults() != "" {
		t.Error("it is not empty")
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			log.Info("fine")
			_ = b.String()
		})
	}
	wg.Wait()
	if n := strings.Count(b.String(), "msg=fine\n"); n != 10 || b.Faults() != "" {
		t.Errorf("%d lines, faults %q", n, b.Faults())
	}
	log.Error("the disk is full")
	log.Warn("recovered", "error", errors.New("panic: index out of range"))
	log.Info("fine")
	if got := b.Faults(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "disk") || !strings.Contains(got, "panic") {
		t.Errorf("faults %q", got)
	}
}

func TestForget(t *testing.T) {
	var b output.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	log.Info("ordinary")
	log.Error("bad")
	faults := b.Faults()
	b.Forget()
	if got := b.String(); got != faults || !strings.Contains(got, "bad") || strings.Contains(got, "ordinary") {
		t.Errorf("what is left is %q, want %q", got, faults)
	}
}
