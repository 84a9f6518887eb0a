package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// registering is what a device shows when it registers.
type registering struct {
	endpoint, scope            string
	key, groupKey, groupID     string
	certificate, certificateID string // files
	payload                    string
	transport                  string
	attempts                   int
}

// registered is what a device is told.
type registered struct {
	RegistrationID   string          `json:"registrationId"`
	Hub              string          `json:"assignedHub"`
	DeviceID         string          `json:"deviceId"`
	Substatus        string          `json:"substatus"`
	Group            string          `json:"enrollmentGroupId,omitempty"`
	Payload          json.RawMessage `json:"payload,omitempty"`
	ConnectionString string          `json:"connectionString,omitempty"`
}

func newCmdDPSRegister(st *state.State, l *dpsLogin) *cobra.Command {
	v := &registering{attempts: 3}
	cmd := &cobra.Command{
		Use: "register REGISTRATION", Short: "Register a device, as the device itself does", Args: exactArgs("REGISTRATION"),
		Long: `Registers a device, waits until it is assigned, and prints its hub and how it
connects to it. It proves who it is with a key or a certificate; without either,
its key is asked from the service: that of its enrollment, or derived from that of a
group. A value @FILE is read from a file.`,
		Example: `  causeway dps register press-7
  causeway dps register press-7 --endpoint dps.example.com --id-scope 0ne00A1B2C3 --symmetric-key @press-7.key
  causeway dps register press-8 --certificate-file press-8.pem --key-file press-8.key`,
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.StringVar(&v.endpoint, "endpoint", "", "host `name` of the provisioning service; default: of the cloud in --data")
	f.StringVar(&v.scope, "id-scope", "", "id `scope` of the provisioning service; default: of the cloud in --data")
	f.StringVar(&v.key, "symmetric-key", "", "`key` of the device, base64")
	f.StringVar(&v.groupKey, "group-key", "", "`key` of the group of the device, base64; that of the device is derived from it")
	f.StringVar(&v.groupID, "group-id", "", "`group` of the device, whose key is asked from the service")
	_ = cmd.RegisterFlagCompletionFunc("group-id", l.completeEnrollments(client.EnrollmentGroup))
	f.StringVar(&v.certificate, "certificate-file", "", "PEM `file` with the certificate of the device, and those between it and the one that the service knows")
	f.StringVar(&v.certificateID, "key-file", "", "PEM `file` with the key of that certificate")
	f.StringVar(&v.payload, "payload", "", "`JSON` that is sent along, for a custom allocation")
	f.StringVar(&v.transport, "transport", string(causeway.HTTPS), "https, mqtt, mqtt-ws, amqp or amqp-ws")
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions(provisioningTransports(), cobra.ShellCompDirectiveNoFileComp))
	f.IntVar(&l.mqtt, "mqtt-port", 0, "MQTT `port`, when it is not the default")
	f.IntVar(&l.amqp, "amqp-port", 0, "AMQP `port`, when it is not the default")
	f.IntVar(&v.attempts, "attempts", v.attempts, "how many times in a row to try to reach the service; 0 is without end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := cmp.Or(out.check(), v.check()); err != nil {
			return err
		}
		o, err := v.options(cmd.Context(), st, l, args[0])
		if err != nil {
			return err
		}
		a, err := client.Provision(cmd.Context(), o)
		if causeway.CodeOf(err) == causeway.IotHubUnauthorizedAccess {
			err = &hinted{err, "the service does not know the device by this key or certificate: compare it with 'causeway dps compute-key', " +
				"'enrollment show', 'group show' and 'cert revoked'"}
		}
		if err != nil {
			return err
		}
		r := registered{
			RegistrationID: a.RegistrationID, Hub: a.Hub, DeviceID: a.DeviceID, Substatus: a.Substatus, Group: a.Group, Payload: a.Payload,
			ConnectionString: a.Device.ConnectionString,
		}
		return out.print(r, func(t *table) {
			t.row("registration", r.RegistrationID)
			t.row("hub", r.Hub)
			t.row("device", r.DeviceID)
			t.row("how", r.Substatus)
			t.row("group", r.Group)
			if len(r.Payload) > 0 {
				t.row("payload", r.Payload)
			}
			t.row("connection string", r.ConnectionString)
		})
	}
	return cmd
}

func (v *registering) check() error {
	proofs := 0
	for _, given := range []string{v.key, v.groupKey, v.groupID, v.certificate} {
		if given != "" {
			proofs++
		}
	}
	switch {
	case v.attempts < 0:
		return usagef("--attempts %d is below 0", v.attempts)
	case !slices.Contains(provisioningTransports(), v.transport):
		return usagef("--transport %q: choose %s", v.transport, strings.Join(provisioningTransports(), ", "))
	case (v.certificate == "") != (v.certificateID == ""):
		return usagef("--certificate-file and --key-file go together")
	case proofs > 1:
		return usagef("the device proves itself with --symmetric-key, --group-key, --group-id or --certificate-file: give one of them")
	}
	return nil
}

// options returns how the device registers.
func (v *registering) options(ctx context.Context, st *state.State, l *dpsLogin, id string) (o client.ProvisioningOptions, err error) {
	o = client.ProvisioningOptions{RegistrationID: id, Attempts: v.attempts, Transport: causeway.Transport(v.transport)}
	if o.Options, o.Endpoint, o.IDScope, err = l.endpoint(ctx, v.endpoint, v.scope); err != nil {
		return o, err
	}
	if o.Payload, err = jsonFlag(st, "--payload", v.payload); err != nil {
		return o, err
	}
	for flag, text := range map[string]struct {
		value string
		into  *causeway.Secret
	}{"--symmetric-key": {v.key, &o.Key}, "--group-key": {v.groupKey, &o.GroupKey}} {
		b, err := textFlag(st, flag, text.value)
		if err != nil {
			return o, err
		}
		*text.into = causeway.Secret(strings.TrimSpace(string(b)))
	}
	switch {
	case v.certificate != "":
		o.Certificate, err = clientCertificate(st, v.certificate, v.certificateID)
	case o.Key == "" && o.GroupKey == "":
		err = l.withEnrollments(ctx, func(ctx context.Context, c *client.Enrollments) error { return v.ask(ctx, c, &o) })
	}
	return o, err
}

// ask gets the key of the device from the service.
func (v *registering) ask(ctx context.Context, c *client.Enrollments, o *client.ProvisioningOptions) error {
	if v.groupID == "" {
		k, err := keysOfEnrollment(ctx, c, client.IndividualEnrollment, o.RegistrationID)
		if err == nil {
			o.Key = causeway.Secret(k.PrimaryKey)
			return nil
		}
		if causeway.CodeOf(err).HTTPStatus() != 404 {
			return err
		}
	}
	k, err := groupKey(ctx, c, v.groupID, false)
	o.GroupKey = causeway.Secret(k)
	return err
}

func clientCertificate(st *state.State, certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := st.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("--certificate-file: %w", err)
	}
	key, err := st.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("--key-file: %w", err)
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, usagef("--certificate-file and --key-file: %v", err)
	}
	return &c, nil
}

// endpoint returns where devices register: as the flags say, else at the service
// of the cloud in --data.
func (l *dpsLogin) endpoint(ctx context.Context, host, scope string) (o client.Options, _, _ string, err error) {
	local, dir, err := l.readLocal()
	if err != nil {
		return o, "", "", err
	}
	if err := l.checkPorts(); err != nil {
		return o, "", "", err
	}
	t := &target{options: client.Options{Product: "causeway-cli", HTTPSPort: l.https, MQTTPort: l.mqtt, AMQPPort: l.amqp}}
	if local != nil && (host == "" || strings.EqualFold(host, local.DPSGlobalEndpoint)) {
		t.local = local
		t.options.HTTPSPort, t.options.Address = cmp.Or(l.https, local.HTTPSPort), local.Address
		t.options.MQTTPort, t.options.AMQPPort = cmp.Or(l.mqtt, local.MQTTPort), cmp.Or(l.amqp, local.AMQPPort)
		if l.service != "" {
			if host, scope, err = l.named(ctx, scope); err != nil {
				return o, "", "", err
			}
		}
		host, scope = cmp.Or(host, local.DPSGlobalEndpoint), cmp.Or(scope, local.DPSIDScope)
	}
	if host == "" || scope == "" {
		return o, "", "", usagef("no provisioning service found: start one with 'causeway quickstart', or pass --endpoint and --id-scope (looked at %s)", l.relative(dir))
	}
	if err := l.trust(t); err != nil {
		return o, "", "", err
	}
	return t.options, host, scope, nil
}

// named returns where the devices of the service register that --dps-name names.
func (l *dpsLogin) named(ctx context.Context, scope string) (host, _ string, err error) {
	err = l.withOwn(ctx, nil, func(ctx context.Context, a *client.Admin, name string) error {
		s, err := a.ProvisioningService(ctx, name)
		if err != nil {
			return err
		}
		if len(s.Hosts) > 0 {
			host = s.Hosts[0]
		}
		scope = cmp.Or(scope, s.IDScope)
		return nil
	})
	return host, scope, err
}
