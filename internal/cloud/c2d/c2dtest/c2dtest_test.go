package c2dtest_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
)

func TestMemory(t *testing.T) {
	c2dtest.Run(t, func(_ *testing.T, ids ...causeway.Identity) c2dtest.Fixture {
		m := c2dtest.NewMemory(ids...)
		return c2dtest.Fixture{Store: m, Delete: m.Delete, Feedback: m.Feedback}
	})
}
