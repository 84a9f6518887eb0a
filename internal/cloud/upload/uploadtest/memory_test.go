package uploadtest_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload/uploadtest"
)

func TestMemory(t *testing.T) {
	uploadtest.Run(t, func(*testing.T) uploadtest.Fixture {
		m := uploadtest.NewMemory()
		return uploadtest.Fixture{
			Store:        m,
			AddDevice:    func(_ *testing.T, id causeway.Identity) { m.AddDevice(id) },
			RemoveDevice: func(_ *testing.T, id causeway.Identity) { m.RemoveDevice(id) },
		}
	})
}
