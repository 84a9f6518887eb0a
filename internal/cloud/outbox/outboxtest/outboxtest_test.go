package outboxtest_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
)

func TestMemory(t *testing.T) {
	outboxtest.Run(t, func(*testing.T) outboxtest.Fixture {
		m := outboxtest.NewMemory("plant", "depot")
		return outboxtest.Fixture{Store: m, Record: m.Record, Delete: m.Delete}
	})
}
