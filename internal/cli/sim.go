package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli/sim"
	"github.com/causeway-iot/causeway/internal/obs"
)

// creating is how many devices are created at once.
const creating = 32

// simResult is what a simulation did.
type simResult struct {
	Devices  int     `json:"devices"`
	Seconds  float64 `json:"seconds"`
	Sent     int64   `json:"sent"`
	Acked    int64   `json:"acknowledged"`
	Failed   int64   `json:"failed"`
	Rate     float64 `json:"perSecond"`
	Methods  int64   `json:"methods"`
	Commands int64   `json:"commands"`
}

// NewCmdSim returns the command that simulates devices.
func NewCmdSim(st *state.State) *cobra.Command {
	var n, size, max, qos int
	var prefix, device, shapeName, template string
	var rate, jitter float64
	var duration time.Duration
	var ws, twin, verbose bool
	var shared int
	transport := string(causeway.MQTT)
	cmd := &cobra.Command{
		Annotations: endlessly(), Use: "sim", Short: "Simulate devices", Args: noArgs,
		Long: `Simulates devices until it is interrupted: creates those that do not exist, connects
them by MQTT or AMQP, sends telemetry, answers the direct methods ping, echo, reboot and
fail, takes commands, reports properties and follows the desired property
telemetryInterval (seconds).

Shapes of telemetry: constant, sine, walk, or a template with the placeholders
${device} ${n} ${time} ${unix} ${rand:A:B} ${sine:A:B} ${walk:A:B}.`,
		Example: `  causeway sim --devices 100 --rate 2 --shape sine
  causeway sim --device pump-7 --shape template --template '{"id":"${device}","bar":${walk:1:6}}'`,
	}
	l := addLogin(cmd, st)
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.IntVarP(&n, "devices", "n", 1, "`number` of devices")
	f.StringVar(&prefix, "prefix", "sim-", "beginning of the device `ids`")
	f.StringVar(&device, "device", "", "simulate this one `device` instead")
	f.StringVar(&shapeName, "shape", sim.Walk, "constant, sine, walk or template")
	f.StringVar(&template, "template", "", "`text` of the messages, @FILE reads it; implies --shape template")
	f.IntVar(&size, "size", 0, "pad messages to so many `bytes`")
	f.Float64Var(&rate, "rate", 1, "messages per second and device")
	f.Float64Var(&jitter, "jitter", 0.1, "share of the interval that it varies by, 0 to 1")
	f.IntVar(&qos, "qos", 1, "0 sends and forgets, 1 has every message acknowledged")
	f.DurationVar(&duration, "duration", 0, "end after this time")
	f.IntVar(&max, "max", 0, "end when each device has sent so many `messages`")
	f.StringVar(&transport, "transport", transport, "mqtt, mqtt-ws, amqp or amqp-ws")
	f.BoolVar(&ws, "websocket", false, "over a WebSocket on the HTTPS port: mqtt-ws for mqtt, amqp-ws for amqp")
	f.IntVar(&shared, "per-connection", 1, "AMQP: `number` of devices that share a connection")
	f.BoolVar(&twin, "twin", true, "keep a twin: report properties, follow desired ones")
	f.BoolVarP(&verbose, "verbose", "v", false, "print what the hub asks of the devices")
	_ = cmd.RegisterFlagCompletionFunc("shape", cobra.FixedCompletions(sim.Shapes(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("device", l.completeDevices)
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions(transports(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := out.check(); err != nil {
			return err
		}
		switch {
		case n < 1 || n > sim.MaxDevices:
			return usagef("--devices %d is not within 1 and %d", n, sim.MaxDevices)
		case !(rate >= 1/sim.MaxInterval.Seconds() && rate <= 1/sim.MinInterval.Seconds()): // this way round for NaN, which is neither
			return usagef("--rate %v is neither more than one message in %v nor up to %v a second", rate, sim.MaxInterval, 1/sim.MinInterval.Seconds())
		case !(jitter >= 0 && jitter <= 1):
			return usagef("--jitter %v is not within 0 and 1", jitter)
		case qos != 0 && qos != 1:
			return usagef("--qos %d: a hub has 0 and 1", qos)
		case !slices.Contains(transports(), transport):
			return usagef("--transport %q: choose %s", transport, strings.Join(transports(), ", "))
		case shared < 1 || shared > client.MaxPoolDevices:
			return usagef("--per-connection %d is not within 1 and %d", shared, client.MaxPoolDevices)
		case shared > 1 && !strings.HasPrefix(transport, "amqp"):
			return usagef("--per-connection needs --transport amqp: only AMQP connections can be shared")
		}
		if template != "" && !cmd.Flags().Changed("shape") {
			shapeName = sim.Template
		}
		text, err := textFlag(st, "--template", template)
		if err != nil {
			return err
		}
		shape, err := sim.NewShape(shapeName, string(text), size)
		if err != nil {
			return &usageError{err: err}
		}
		ids := []string{device}
		if device == "" {
			ids = ids[:0]
			for i := range n {
				ids = append(ids, fmt.Sprintf("%s%d", prefix, i+1))
			}
		}
		o := sim.Options{
			Shape: shape, Interval: time.Duration(float64(time.Second) / rate), Jitter: jitter, QoS: qos,
			Duration: duration, Max: max, Twin: twin, Log: obs.NewLogger(st.Stderr, obs.FormatText, nil),
		}
		if verbose {
			o.Heard = func(d, what string) { fmt.Fprintf(st.Stderr, "%s ← %s\n", d, printable(what)) }
		}
		each := client.DeviceOptions{Transport: causeway.Transport(transport), WebSocket: ws}
		return simulate(cmd.Context(), st, l, out, ids, each, shared, o)
	}
	return cmd
}

// transports are the ways that devices talk.
func transports() []string {
	return []string{string(causeway.MQTT), string(causeway.MQTTWS), string(causeway.AMQP), string(causeway.AMQPWS)}
}

func textFlag(st *state.State, flag, value string) ([]byte, error) {
	if len(value) < 2 || value[0] != '@' {
		return []byte(value), nil
	}
	b, err := st.ReadFile(value[1:])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return b, nil
}

// simulate runs devices that connect as each says, several on a connection when
// shared is more than one.
func simulate(ctx context.Context, st *state.State, l *login, out *output, ids []string, each client.DeviceOptions, shared int, o sim.Options) error {
	t, err := l.find(ctx)
	if err != nil {
		return err
	}
	s, err := t.service()
	if err != nil {
		return err
	}
	defer s.Close()
	devices, err := ensure(ctx, st, s, ids)
	if err != nil {
		return err
	}
	if shared > 1 {
		ws := each.WebSocket || each.Transport == causeway.AMQPWS
		each.Pool = client.NewPool(client.PoolOptions{Options: t.options, WebSocket: ws, Devices: shared})
	}
	for i := range devices {
		d := each
		d.Options, d.ConnectionString = t.options, devices[i].ConnectionString
		devices[i] = d
	}

	var c sim.Counts
	began := time.Now()
	bar := newBar(st, "connecting", len(devices))
	watch, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	var up atomic.Int64
	err = sim.Run(ctx, devices, o, &c, func() {
		bar.step()
		if int(up.Add(1)) == len(devices) && st.StderrTerminal {
			watching.Go(func() { watchSim(watch, st, &c) })
		}
	})
	stop()
	watching.Wait()
	bar.done()
	took := time.Since(began)
	if err != nil {
		return err
	}
	r := simResult{
		Devices: len(devices), Seconds: took.Seconds(), Sent: c.Sent.Load(), Acked: c.Acked.Load(), Failed: c.Failed.Load(),
		Rate: float64(c.Sent.Load()) / took.Seconds(), Methods: c.Methods.Load(), Commands: c.Commands.Load(),
	}
	return out.print(r, func(t *table) {
		t.row("devices", r.Devices)
		t.row("seconds", fmt.Sprintf("%.1f", r.Seconds))
		t.row("sent", r.Sent)
		t.row("acknowledged", r.Acked)
		t.row("failed", r.Failed)
		t.row("per second", fmt.Sprintf("%.1f", r.Rate))
		t.row("methods", r.Methods)
		t.row("commands", r.Commands)
	})
}

// ensure creates the devices that do not exist and returns how to connect all.
func ensure(ctx context.Context, st *state.State, s *client.Service, ids []string) ([]client.DeviceOptions, error) {
	out := make([]client.DeviceOptions, len(ids))
	bar := newBar(st, "creating devices", len(ids))
	defer bar.done()
	err := parallel(ctx, creating, len(ids), func(ctx context.Context, i int) error {
		defer bar.step()
		d, err := s.Device(ctx, ids[i])
		if causeway.CodeOf(err) == causeway.DeviceNotFound {
			d, err = s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: ids[i], Status: "enabled"})
		}
		if err != nil {
			return err
		}
		cs := client.ConnectionString(s.Host(), d.DeviceID, "", d.Authentication)
		if cs == "" || d.Authentication.Type != "sas" {
			return fmt.Errorf("device %s authenticates with certificates, which the simulator has not", d.DeviceID)
		}
		out[i].ConnectionString = cs
		return nil
	})
	return out, err
}

// watchSim keeps a line on the terminal up to date.
func watchSim(ctx context.Context, st *state.State, c *sim.Counts) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := int64(0); ; {
		select {
		case <-ctx.Done():
			fmt.Fprintln(st.Stderr)
			return
		case <-tick.C:
			sent := c.Sent.Load()
			fmt.Fprintf(st.Stderr, "\r%d connected, %d sent (%d/s), %d acknowledged, %d failed   ",
				c.Connected.Load(), sent, sent-last, c.Acked.Load(), c.Failed.Load())
			last = sent
		}
	}
}
