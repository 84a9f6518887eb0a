package transfertest_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/transfer/transfertest"
)

func TestMemory(t *testing.T) {
	transfertest.Run(t, func(*testing.T) transfertest.Fixture {
		m := transfertest.NewMemory("plant", "depot")
		return transfertest.Fixture{Store: m, DeleteHub: m.DeleteHub}
	})
}
