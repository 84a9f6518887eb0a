package cloud

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// The data directory:
//
//	DIR/lock             held while a cloud runs; has its process id
//	DIR/causeway.db      SQLite: hubs, identities, twins, queues, sessions
//	DIR/hubs/HUB/deleted is there while the hub is deleted, until its directory is
//	DIR/hubs/HUB/log/    the event log of a hub
//	DIR/hubs/HUB/blobs/  its blobs: the files that devices upload, and others
//	DIR/hubs/HUB/endpoints/NAME/  messages on their way to a custom endpoint, or in an event hub
//	DIR/hubs/HUB/dead-letters/    messages that custom endpoints did not get
//	DIR/…/.gone-…        a directory on its way out
//	DIR/ca/              the local certificate authority and the server's certificate
//	DIR/key              seals the keys in causeway.db; without it they are lost
//	DIR/blob.key         signs access to blobs (0600); without it, signatures given so far end
//	DIR/admin.token      bearer token of the administration (0600)
//	DIR/connection.json  how to reach the running cloud, for the command line (0600)
const (
	LockFile       = "lock"
	DatabaseFile   = "causeway.db"
	HubsDir        = "hubs"
	LogDir         = "log"
	BlobsDir       = "blobs"
	BlobKeyFile    = "blob.key"
	EndpointsDir   = "endpoints"
	DeadLettersDir = "dead-letters"
	CADir          = "ca"
	CAFile         = "ca.pem"
	KeyFile        = "key"
	AdminTokenFile = "admin.token"
	ConnectionFile = "connection.json"
)

// Connection is how to reach a running cloud: the content of connection.json
// and of ready files. It holds secrets.
type Connection struct {
	Hub                       string `json:"hub"` // host name of the first hub
	HTTPSPort                 int    `json:"httpsPort"`
	MQTTPort                  int    `json:"mqttPort"` // 0 when not served
	AMQPPort                  int    `json:"amqpPort"` // 0 when not served
	Address                   string `json:"address"`  // where this machine reaches all of it, whatever hubs are called; "" by their names
	AdminURL                  string `json:"adminUrl"`
	OwnerConnectionString     string `json:"ownerConnectionString"`
	ServiceConnectionString   string `json:"serviceConnectionString"`
	EventHubsConnectionString string `json:"eventHubsConnectionString"` // "" when not served
	DeviceConnectionString    string `json:"deviceConnectionString"`    // "" without a device
	CAFile                    string `json:"caFile"`

	// The first provisioning service; "" when there is none.
	DPSGlobalEndpoint          string `json:"dpsGlobalEndpoint"` // host name for devices
	DPSIDScope                 string `json:"dpsIdScope"`
	DPSServiceConnectionString string `json:"dpsServiceConnectionString"`
	DPSGroupKey                string `json:"dpsGroupKey"` // primary key of an enrollment group that is ready to use
}

// Serves reports whether the connection string is one of a hub of this cloud,
// as far as can be told: it names the same host and a policy key of it.
func (c *Connection) Serves(connectionString string) bool {
	cs, err := sas.ParseConnectionString(connectionString)
	return err == nil && cs.HostName == c.Hub
}

// Provisions reports the same of the connection string of a provisioning service.
func (c *Connection) Provisions(connectionString string) bool {
	cs, err := sas.ParseConnectionString(connectionString)
	return err == nil && c.DPSGlobalEndpoint != "" && strings.EqualFold(cs.HostName, c.DPSGlobalEndpoint)
}

// Write writes c where only its owner can read it.
func (c *Connection) Write(path string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return state.WriteFile(path, append(b, '\n'), 0o600)
}

// adminToken returns the token in dir, and makes one on the first start.
func adminToken(dir string) (string, error) {
	path := filepath.Join(dir, AdminTokenFile)
	token, err := state.ReadSecret(path)
	switch {
	case err == nil && token != "":
		return token, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the administration token: %w", err)
	}
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never fails
	token = base64.RawURLEncoding.EncodeToString(b)
	if err := state.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("make the administration token: %w", err)
	}
	return token, nil
}
