package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// login is how a command finds the cloud it talks to, in this order: --login,
// CAUSEWAY_CONNECTION_STRING, and the files that a cloud on this machine has
// left in its data directory.
type login struct {
	st    *state.State
	login string
	hub   string
	ca    string
	data  string
	https int
	mqtt  int
	amqp  int
}

func addLogin(cmd *cobra.Command, st *state.State) *login {
	l := &login{st: st}
	f := cmd.PersistentFlags()
	f.StringVarP(&l.login, "login", "l", "", "connection `string` of the hub, @FILE reads it; default "+config.EnvConnectionString+", then the cloud in --data")
	f.StringVar(&l.hub, "hub", "", "`name` of the hub, when the cloud in --data has several")
	f.StringVar(&l.ca, "ca", "", "`file` with the certificate authority to trust; default "+config.EnvCA)
	f.StringVar(&l.data, "data", "", "data `directory` of a cloud on this machine; default ./causeway-data")
	f.IntVar(&l.https, "https-port", 0, "HTTPS `port`, when it is not the default")
	f.IntVar(&l.mqtt, "mqtt-port", 0, "MQTT `port`, when it is not the default")
	f.IntVar(&l.amqp, "amqp-port", 0, "AMQP `port`, when it is not the default")
	return l
}

// target is a hub that was found.
type target struct {
	connectionString string
	options          client.Options
	local            *cloud.Connection // nil when the cloud is elsewhere
	caFile           string
	adminToken       string
}

// find returns the hub to talk to.
func (l *login) find(ctx context.Context) (*target, error) {
	local, dir, err := l.readLocal()
	if err != nil {
		return nil, err
	}
	if err := l.checkPorts(); err != nil {
		return nil, err
	}
	t := &target{options: client.Options{Product: "causeway-cli", HTTPSPort: l.https, MQTTPort: l.mqtt, AMQPPort: l.amqp}}
	text, err := l.given(config.EnvConnectionString)
	if err != nil {
		return nil, err
	}
	switch {
	case text != "" && l.hub != "":
		return nil, usagef("--hub chooses among the hubs of the cloud in --data; a connection string already names its hub")
	case text != "":
		t.connectionString = text
		if local != nil && local.Serves(text) {
			t.local = local
		}
	case local != nil:
		t.local = local
	default:
		return nil, l.noHub(dir)
	}
	if t.local != nil {
		t.options.Address = local.Address
		t.options.HTTPSPort = cmp.Or(t.options.HTTPSPort, local.HTTPSPort)
		t.options.MQTTPort = cmp.Or(t.options.MQTTPort, local.MQTTPort)
		t.options.AMQPPort = cmp.Or(t.options.AMQPPort, local.AMQPPort)
		t.adminToken, err = state.ReadSecret(filepath.Join(dir, cloud.AdminTokenFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the administration token: %w", err)
		}
	}
	if err := l.trust(t); err != nil {
		return nil, err
	}
	if t.connectionString == "" {
		if t.connectionString, err = l.ownConnection(ctx, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// checkPorts refuses what is no port, before it reads like a cloud out of reach.
func (l *login) checkPorts() error {
	for _, p := range []struct {
		flag string
		port int
	}{{"--https-port", l.https}, {"--mqtt-port", l.mqtt}, {"--amqp-port", l.amqp}} {
		if p.port < 0 || p.port > 1<<16-1 {
			return usagef("%s %d is no port", p.flag, p.port)
		}
	}
	return nil
}

// given returns the connection string of --login, or of a variable.
func (l *login) given(variable string) (string, error) {
	if l.login == "" {
		text, _ := l.st.Getenv(variable)
		return text, nil
	}
	text, err := textFlag(l.st, "--login", l.login)
	return strings.TrimSpace(string(text)), err
}

// ownConnection returns the connection string of the owner of a hub of the cloud in
// --data, which is asked for it: its keys may have been replaced, and hubs made and
// removed, since it was started.
func (l *login) ownConnection(ctx context.Context, t *target) (string, error) {
	admin, err := t.admin()
	if err != nil {
		return "", err
	}
	defer admin.Close()
	hub := l.hub
	if hub == "" {
		if hub, err = ownHub(ctx, admin, t.local); err != nil {
			return "", err
		}
	}
	return admin.ConnectionString(ctx, hub, ownerPolicy)
}

// findAdmin returns the administration of the cloud.
func (l *login) findAdmin() (*client.Admin, error) {
	t, err := l.findLocal()
	if err != nil {
		return nil, err
	}
	return t.admin()
}

// findLocal returns the cloud in --data, without a hub.
func (l *login) findLocal() (*target, error) {
	local, dir, err := l.readLocal()
	if err != nil {
		return nil, err
	}
	if local == nil {
		return nil, l.noHub(dir)
	}
	t := &target{local: local, options: client.Options{Product: "causeway-cli", HTTPSPort: l.https, Address: local.Address}}
	if t.adminToken, err = state.ReadSecret(filepath.Join(dir, cloud.AdminTokenFile)); err != nil {
		return nil, fmt.Errorf("read the administration token: %w", err)
	}
	if err := l.trust(t); err != nil {
		return nil, err
	}
	return t, nil
}

const ownerPolicy = "iothubowner"

func (l *login) readLocal() (*cloud.Connection, string, error) {
	dir := l.data
	if dir == "" {
		dir, _ = l.st.Getenv(config.Prefix + "DATA")
	}
	if dir == "" {
		dir = config.Default().Data
	}
	dir = l.st.Path(dir)
	b, err := l.st.ReadFile(filepath.Join(dir, cloud.ConnectionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, dir, nil
	}
	if err != nil {
		return nil, dir, fmt.Errorf("read how to reach the cloud: %w", err)
	}
	var c cloud.Connection
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, dir, fmt.Errorf("%s is damaged (%w); start the cloud again to have it rewritten", filepath.Join(dir, cloud.ConnectionFile), err)
	}
	return &c, dir, nil
}

func (l *login) noHub(dir string) error {
	return usagef("no hub found: start one with 'causeway quickstart', or pass --login CONNECTION_STRING (looked at --login, %s and %s)",
		config.EnvConnectionString, l.relative(dir))
}

// relative shortens the path of a data directory that is below the current one.
func (l *login) relative(dir string) string {
	if rel, err := filepath.Rel(l.st.Dir, dir); err == nil && !strings.HasPrefix(rel, "..") {
		return "./" + rel
	}
	return dir
}

// trust loads the authority: --ca, the environment, the local cloud's own.
func (l *login) trust(t *target) error {
	file := l.ca
	if file == "" {
		file, _ = l.st.Getenv(config.EnvCA)
	}
	if file == "" && t.local != nil {
		file = t.local.CAFile
	}
	if file == "" {
		return nil
	}
	pem, err := l.st.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read certificate authority: %w", err)
	}
	t.caFile = l.st.Path(file)
	if t.options.RootCAs, err = client.LoadCA(pem); err != nil {
		return fmt.Errorf("read certificate authority %s: %w", file, err)
	}
	return nil
}

func (t *target) service() (*client.Service, error) {
	s, err := client.NewService(t.connectionString, t.options)
	if err != nil {
		return nil, &usageError{err: err}
	}
	return s, nil
}

// messaging returns the AMQP side of a back end.
func (t *target) messaging(ws bool) (*client.Messaging, error) {
	m, err := client.NewMessaging(client.MessagingOptions{Options: t.options, ConnectionString: t.connectionString, WebSocket: ws})
	if err != nil {
		return nil, &usageError{err: err}
	}
	return m, nil
}

func (t *target) admin() (*client.Admin, error) {
	if t.local == nil || t.adminToken == "" {
		return nil, usagef("this needs the administration of the cloud: run it on the cloud's machine, with --data naming its data directory")
	}
	return client.NewAdmin(t.local.AdminURL, t.adminToken, t.options)
}

// service finds a hub and returns a client for it.
func (l *login) service(ctx context.Context) (*client.Service, error) {
	t, err := l.find(ctx)
	if err != nil {
		return nil, err
	}
	return t.service()
}

// completeDevices offers the ids of devices to the shell.
func (l *login) completeDevices(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	s, err := l.service(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // a shell has no place for errors
	}
	defer s.Close()
	list, err := s.Devices(ctx, 0)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, d := range list {
		if strings.HasPrefix(d.DeviceID, prefix) {
			ids = append(ids, d.DeviceID)
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
