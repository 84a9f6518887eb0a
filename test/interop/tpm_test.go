//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"

	"github.com/causeway-iot/causeway/internal/testkit/swtpm"
)

// tpms are the TPMs of the suites, each in software and with keys of its own.
type tpms struct {
	mu   sync.Mutex
	byID map[string]*swtpm.TPM
}

// errNoTPM is what a suite is told that cannot have a TPM; it skips its cases, or
// fails when CI is set.
var errNoTPM = errors.New(swtpm.Missing())

// start starts a TPM behind the protocol of the simulator and answers with its id and
// its port.
func (t *tpms) start(w io.Writer) error {
	if swtpm.Missing() != "" {
		return errNoTPM
	}
	tpm, err := swtpm.Start()
	if err != nil {
		return err
	}
	port, err := serveTPM(tpm)
	if err != nil {
		return errors.Join(err, tpm.Close())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = map[string]*swtpm.TPM{}
	}
	id := fmt.Sprint(port)
	t.byID[id] = tpm
	return json.NewEncoder(w).Encode(map[string]any{"id": id, "port": port})
}

func serveTPM(tpm *swtpm.TPM) (port int, err error) {
	for range 50 { // until the next port is free too
		commands, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port = commands.Addr().(*net.TCPAddr).Port
		platform, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port+1)))
		if err == nil {
			tpm.ServeSimulator(commands, platform)
			return port, nil
		}
		commands.Close()
	}
	return 0, errors.New("no two neighbouring ports are free")
}

// change does to a TPM what happens to one in its life.
func (t *tpms) change(what string, q url.Values) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	tpm := t.byID[q.Get("id")]
	if tpm == nil {
		return fmt.Errorf("there is no TPM %q", q.Get("id"))
	}
	switch what {
	case "restart":
		return tpm.Restart()
	case "clear":
		return tpm.Clear()
	case "renew":
		return tpm.Renew()
	case "stop":
		delete(t.byID, q.Get("id"))
		return tpm.Close()
	default:
		return fmt.Errorf("a TPM cannot %q", what)
	}
}

// close ends those that no suite has ended.
func (t *tpms) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, tpm := range t.byID {
		errs = append(errs, tpm.Close())
	}
	t.byID = nil
	return errors.Join(errs...)
}
