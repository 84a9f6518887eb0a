package hubtest

import (
	"context"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

// Admin is the other side of a hub: what operators and back ends do. Methods
// fail the test when they cannot do what they are asked. The hub in identities
// given to it does not matter.
type Admin interface {
	// Add creates a device, or with a module id a module of an existing
	// device, and returns a credential that opens it for at least an hour.
	Add(t testing.TB, device, module string) causeway.Credential
	// Expiring returns a credential of id that expires at a whole second.
	Expiring(t testing.TB, id causeway.Identity, at time.Time) causeway.Credential
	// Rekey gives id new keys and returns a credential with them.
	Rekey(t testing.TB, id causeway.Identity) causeway.Credential
	// Disable refuses id from now on; Delete removes it.
	Disable(t testing.TB, id causeway.Identity)
	Delete(t testing.TB, id causeway.Identity)

	// SetDesired merges a JSON object into the desired section and returns
	// its new version.
	SetDesired(t testing.TB, id causeway.Identity, patch string) int64
	// Reported returns the reported section as the platform holds it, without
	// "$" members, and its version.
	Reported(t testing.TB, id causeway.Identity) (properties []byte, version int64)

	// Enqueue queues a command and Depth counts those not yet settled.
	Enqueue(t testing.TB, id causeway.Identity, m causeway.Message)
	Depth(t testing.TB, id causeway.Identity) int

	// Invoke calls a direct method as a back end does.
	Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error)

	// Telemetry returns what is stored of a device and its modules, in order,
	// with From.Hub filled in.
	Telemetry(t testing.TB, device string) []causeway.Message
	// Connected reports the connection state of id.
	Connected(t testing.TB, id causeway.Identity) bool
}
