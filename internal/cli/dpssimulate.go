package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli/dpssim"
)

// dpsFleet is the devices that a simulation registers.
type dpsFleet struct {
	devices, atOnce int
	prefix          string
	endpoint, scope string
	groupKey        string
	cert, key       string // files of the certificate that signs those of devices
	payload         string
	attempts        int
	connect         bool
	transport       string
}

// newCmdDPSSimulate returns the command that registers simulated devices.
func newCmdDPSSimulate(st *state.State, l *login) *cobra.Command {
	v := &dpsFleet{}
	cmd := &cobra.Command{
		Use: "simulate", Aliases: []string{"sim"}, Short: "Register simulated devices of an enrollment group, all at once", Args: noArgs,
		Long: `Registers devices of an enrollment group as real ones do at their first start: each
connects by itself, proves who it is, registers, asks for the outcome as often as the
service tells it to, and with --connect connects to the hub it was given and sends a
message. Prints how fast that went, and what failed.

Devices prove themselves with keys derived from --group-key (or @FILE), or with
certificates that --signing-cert signs. Without either the group that a quickstart has
ready is used.`,
		Example: `  causeway dps simulate --devices 10000 --at-once 2500
  causeway dps simulate --devices 50 --connect
  causeway dps simulate --endpoint dps.example.net --id-scope 0ne00AB12CD --signing-cert ca.pem --signing-key ca.key`,
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.IntVar(&v.devices, "devices", 100, "`number` of devices")
	f.IntVar(&v.atOnce, "at-once", 1000, "`number` of devices that register at the same time")
	f.StringVar(&v.prefix, "prefix", "dps-sim-", "beginning of the registration `ids`")
	f.StringVar(&v.endpoint, "endpoint", "", "`host` of the provisioning service, with its port if that is not 443; default: the cloud in --data")
	f.StringVar(&v.scope, "id-scope", "", "id `scope`; default: of the cloud in --data")
	f.StringVar(&v.groupKey, "group-key", "", "`key` of the enrollment group, @FILE reads it; default: of the cloud in --data")
	f.StringVar(&v.cert, "signing-cert", "", "PEM `file` with the certificate that signs those of the devices, and its chain")
	f.StringVar(&v.key, "signing-key", "", "PEM `file` with the key of that certificate")
	f.StringVar(&v.payload, "payload", "", "`JSON` that devices send along, for a custom allocation; @FILE reads it")
	f.IntVar(&v.attempts, "attempts", 5, "how many times in a row a device tries to reach the service; 0 is without end")
	f.BoolVar(&v.connect, "connect", false, "then connect each device to its hub and send one message")
	f.StringVar(&v.transport, "transport", string(causeway.HTTPS), "https, mqtt, mqtt-ws, amqp or amqp-ws; of --connect, too, but for https, which is mqtt then")
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions(provisioningTransports(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmp.Or(out.check(), v.check()); err != nil {
			return err
		}
		return v.run(cmd.Context(), st, l, out)
	}
	return cmd
}

func (v *dpsFleet) check() error {
	switch {
	case v.devices < 1 || v.devices > dpssim.MaxDevices:
		return usagef("--devices %d is not within 1 and %d", v.devices, dpssim.MaxDevices)
	case v.atOnce < 1:
		return usagef("--at-once %d: at least one device registers at a time", v.atOnce)
	case v.attempts < 0:
		return usagef("--attempts %d is below 0", v.attempts)
	case (v.cert == "") != (v.key == ""):
		return usagef("--signing-cert and --signing-key go together")
	case v.cert != "" && v.groupKey != "":
		return usagef("devices prove themselves with --group-key or with --signing-cert, not with both")
	case !slices.Contains(provisioningTransports(), v.transport):
		return usagef("--transport %q: choose %s", v.transport, strings.Join(provisioningTransports(), ", "))
	}
	return nil
}

// provisioningTransports are the ways that devices register.
func provisioningTransports() []string {
	return append([]string{string(causeway.HTTPS)}, transports()...)
}

// common returns what all devices have in common: where they ask, and the key of
// their group unless they have certificates.
func (v *dpsFleet) common(st *state.State, l *login) (o client.ProvisioningOptions, err error) {
	local, dir, err := l.readLocal()
	if err != nil {
		return o, err
	}
	t := &target{local: local, options: client.Options{
		Product: "causeway-cli", HTTPSPort: l.https, MQTTPort: l.mqtt, AMQPPort: l.amqp,
		// What the stacks of devices offer, as those of causeway bench do.
		KeyExchanges: []tls.CurveID{tls.X25519, tls.CurveP256},
	}}
	if local != nil {
		t.options.HTTPSPort = cmp.Or(t.options.HTTPSPort, local.HTTPSPort)
		t.options.MQTTPort = cmp.Or(t.options.MQTTPort, local.MQTTPort)
		t.options.AMQPPort = cmp.Or(t.options.AMQPPort, local.AMQPPort)
	}
	if err := l.trust(t); err != nil {
		return o, err
	}
	key, err := textFlag(st, "--group-key", v.groupKey)
	if err != nil {
		return o, err
	}
	if len(key) > 0 {
		if _, err := client.DeriveDeviceKey(causeway.Secret(strings.TrimSpace(string(key))), v.prefix+"1"); err != nil {
			return o, usagef("--group-key: %v", err)
		}
	}
	payload, err := textFlag(st, "--payload", v.payload)
	if err != nil {
		return o, err
	}
	o = client.ProvisioningOptions{
		Options: t.options, Endpoint: v.endpoint, IDScope: v.scope, Payload: payload, Attempts: v.attempts, Transport: causeway.Transport(v.transport),
		GroupKey: causeway.Secret(strings.TrimSpace(string(key))),
	}
	if local != nil {
		o.Endpoint, o.IDScope = cmp.Or(o.Endpoint, local.DPSGlobalEndpoint), cmp.Or(o.IDScope, local.DPSIDScope)
		if v.cert == "" && o.GroupKey == "" && o.IDScope == local.DPSIDScope {
			o.GroupKey = causeway.Secret(local.DPSGroupKey)
		}
	}
	switch {
	case o.Endpoint == "" || o.IDScope == "":
		return o, usagef("no provisioning service found: start one with 'causeway quickstart', or pass --endpoint and --id-scope (looked at %s)", dir)
	case v.cert == "" && o.GroupKey == "":
		return o, usagef("how do the devices prove who they are? pass --group-key, or --signing-cert with --signing-key")
	}
	return o, nil
}

// run registers the fleet and prints what came of it.
func (v *dpsFleet) run(ctx context.Context, st *state.State, l *login, out *output) error {
	common, err := v.common(st, l)
	if err != nil {
		return err
	}
	var signer *dpssim.Signer
	if v.cert != "" {
		cert, err := st.ReadFile(v.cert)
		if err != nil {
			return fmt.Errorf("--signing-cert: %w", err)
		}
		key, err := st.ReadFile(v.key)
		if err != nil {
			return fmt.Errorf("--signing-key: %w", err)
		}
		if signer, err = dpssim.NewSigner(cert, key); err != nil {
			return &usageError{err: err}
		}
	}
	bar := newBar(st, "registering", v.devices)
	r, err := dpssim.Run(ctx, dpssim.Options{
		Devices: v.devices, AtOnce: v.atOnce, Connect: v.connect, Step: bar.step,
		Device: func(i int) (client.ProvisioningOptions, error) {
			o := common
			o.RegistrationID = v.prefix + strconv.Itoa(i+1)
			if signer == nil {
				return o, nil
			}
			var err error
			o.Certificate, err = signer.Certificate(o.RegistrationID)
			return o, err
		},
	})
	bar.done()
	if err != nil {
		return err
	}
	if err := out.print(r, func(t *table) { dpsSimTable(t, &r, v.connect) }); err != nil {
		return err
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d of %d devices failed", r.Failed, r.Devices)
	}
	return nil
}

func dpsSimTable(t *table, r *dpssim.Result, connect bool) {
	t.row("devices", r.Devices)
	t.row("at once", r.AtOnce)
	t.row("assigned", r.Assigned)
	if connect {
		t.row("sent", r.Sent)
	}
	t.row("failed", r.Failed)
	t.row("seconds", fmt.Sprintf("%.1f", r.Seconds))
	t.row("per second", fmt.Sprintf("%.1f", r.Rate))
	t.row("p50 / p99 until the hub is known", fmt.Sprintf("%.0f / %.0f ms", r.Took.P50, r.Took.P99))
	t.row("p50 / p99 without asked-for pauses", fmt.Sprintf("%.0f / %.0f ms", r.Served.P50, r.Served.P99))
	for _, h := range slices.Sorted(maps.Keys(r.Hubs)) {
		t.row("on "+h, r.Hubs[h])
	}
	for _, why := range slices.Sorted(maps.Keys(r.Reasons)) {
		t.row("failed: "+why, r.Reasons[why])
	}
	t.row("memory of this process", fmt.Sprintf("%.1f MiB", float64(r.Memory)/(1<<20)))
}
