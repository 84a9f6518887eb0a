package logtest_test

import (
	"errors"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
)

func TestMemory(t *testing.T) {
	logtest.Run(t, func(t *testing.T, o logtest.Options) eventlog.Log {
		if o.Reopen {
			t.Skip("nothing is kept")
		}
		return logtest.NewMemory(o.Partitions)
	})
}

func TestMemoryFails(t *testing.T) {
	m := logtest.NewMemory(1)
	m.Fail(eventlog.ErrFull)
	if _, err := m.Append(t.Context(), 0, eventlog.Record{}); !errors.Is(err, eventlog.ErrFull) {
		t.Fatalf("Append = %v, want ErrFull", err)
	}
	m.Fail(nil)
	if _, err := m.Append(t.Context(), 0, eventlog.Record{}); err != nil {
		t.Fatal(err)
	}
}
