package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli/sim"
)

// What a quickstart has in it.
const (
	quickHub    = "localhost"
	quickDevice = "device-1"
	quickSensor = "sensor-1"

	quickProvisioning = "dps"
	quickGroup        = "devices" // enrollment group
)

// NewCmdQuickstart returns the command that starts everything for a first look.
func NewCmdQuickstart(st *state.State) *cobra.Command {
	var quiet, noSensor bool
	interval := time.Second
	cmd := &cobra.Command{
		Annotations: endlessly(), Use: "quickstart", Short: "Start a cloud with one hub and a simulated sensor", Args: noArgs,
		Long: `Starts a cloud with one hub, localhost, in this process, prints how to reach it,
and shows live what a simulated sensor and your own devices send. Ctrl-C stops
it; the next start continues where it was.`,
	}
	s := addServer(cmd, st)
	f := cmd.Flags()
	f.BoolVarP(&quiet, "quiet", "q", false, "print neither addresses nor telemetry")
	f.BoolVar(&noSensor, "no-sensor", false, "do without the simulated sensor")
	f.DurationVar(&interval, "interval", interval, "time between messages of the sensor")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.config()
		if err != nil {
			return err
		}
		if interval < sim.MinInterval {
			return usagef("--interval %v is shorter than %v", interval, sim.MinInterval)
		}
		if len(cfg.Hubs) == 0 {
			cfg.Hubs = []config.Hub{{Name: quickHub}}
		}
		if len(cfg.Provisioning) == 0 {
			// Of the first hub alone: those that are made later are for other things.
			cfg.Provisioning = []config.Provisioning{{Name: quickProvisioning, Hosts: []string{quickHub}, Hubs: []string{cfg.Hubs[0].Name}}}
		}
		// The screen is for telemetry: only what is wrong goes between, unless
		// more was asked for.
		if !cmd.Flags().Changed("log-level") && cfg.Log.Level == config.Default().Log.Level {
			cfg.Log.Level = "warn"
		}
		if !cmd.Flags().Changed("log-format") && cfg.Log.Format == "auto" {
			cfg.Log.Format = "text"
		}
		devices := []string{quickDevice}
		if !noSensor {
			devices = append(devices, quickSensor)
		}
		c, err := cloud.New(cmd.Context(), cfg, cloud.Options{
			Log: s.logger(&cfg), Hostname: s.hostname(), Version: version(st).Version, Devices: devices, Group: quickGroup,
			Fallback: cfg.Listen.HTTPS == config.Default().Listen.HTTPS,
		})
		if err != nil {
			return err
		}
		return s.run(cmd.Context(), c, func(ctx context.Context) error {
			q := &quickstart{
				st: st, data: cfg.Data, conn: c.Connection(), took: c.StartTime(), fellBack: c.FellBack(),
				quiet: quiet, sensor: !noSensor, interval: interval,
			}
			return q.run(ctx)
		})
	}
	return cmd
}

// quickstart shows and feeds a cloud that runs.
type quickstart struct {
	st       *state.State
	data     string
	conn     cloud.Connection
	took     time.Duration
	fellBack bool // HTTPS is not on port 443 for want of the right
	quiet    bool
	sensor   bool
	interval time.Duration
}

// run shows the cloud and feeds it until ctx ends.
func (q *quickstart) run(ctx context.Context) error {
	if !q.quiet {
		q.banner()
	}
	o, err := q.options()
	if err != nil {
		return err
	}
	service, err := client.NewService(q.conn.OwnerConnectionString, o)
	if err != nil {
		return err
	}
	defer service.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running := 0
	ended := make(chan error, 2)
	spawn := func(f func(context.Context) error) {
		running++
		go func() { ended <- f(ctx) }()
	}
	spawn(func(ctx context.Context) error {
		if q.quiet {
			<-ctx.Done()
			return nil
		}
		return service.Events(ctx, client.EventsQuery{}, func(e client.Event) error { return showEvent(q.st, e, false) })
	})
	if q.sensor {
		spawn(func(ctx context.Context) error { return q.simulate(ctx, service, o) })
	}
	var errs []error
	for ; running > 0; running-- {
		err := <-ended
		if err != nil && ctx.Err() == nil {
			errs = append(errs, err)
		}
		cancel() // one without the other is of no use
	}
	if !q.quiet {
		fmt.Fprintln(q.st.Stdout, "\nstopping …")
	}
	return errors.Join(errs...)
}

// options make a client of our own cloud, without looking at files.
func (q *quickstart) options() (client.Options, error) {
	conn := q.conn
	o := client.Options{HTTPSPort: conn.HTTPSPort, MQTTPort: conn.MQTTPort, Product: "causeway-quickstart"}
	if conn.CAFile == "" {
		return o, nil
	}
	pem, err := q.st.ReadFile(conn.CAFile)
	if err != nil {
		return o, fmt.Errorf("read our own certificate authority: %w", err)
	}
	o.RootCAs, err = client.LoadCA(pem)
	return o, err
}

// simulate runs the sensor, as a real device over MQTT.
func (q *quickstart) simulate(ctx context.Context, service *client.Service, o client.Options) error {
	d, err := service.Device(ctx, quickSensor)
	if err != nil {
		return fmt.Errorf("simulated sensor: %w", err)
	}
	shape, err := sim.NewShape(sim.Walk, "", 0)
	if err != nil {
		return err
	}
	devices := []client.DeviceOptions{{
		Options: o, WebSocket: o.MQTTPort == 0,
		ConnectionString: client.ConnectionString(service.Host(), d.DeviceID, "", d.Authentication),
	}}
	heard := func(device, what string) {
		if !q.quiet {
			fmt.Fprintf(q.st.Stdout, "%s  %-16s  ← %s\n", time.Now().Format("15:04:05.000"), device, printable(what))
		}
	}
	err = sim.Run(ctx, devices, sim.Options{Shape: shape, Interval: q.interval, QoS: 1, Twin: true, Heard: heard}, &sim.Counts{}, nil)
	if err != nil {
		return fmt.Errorf("simulated sensor: %w", err)
	}
	return nil
}

// banner prints how to reach the cloud and what to try.
func (q *quickstart) banner() {
	conn := q.conn
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "  %-18s %s\n", name, value) }
	fmt.Fprintf(&b, "Causeway is ready (%d ms). Data in %s\n\n", q.took.Milliseconds(), q.relative(q.data))
	line("Administration", conn.AdminURL)
	line("HTTPS, WebSockets", fmt.Sprintf("%s:%d", conn.Hub, conn.HTTPSPort))
	if conn.MQTTPort != 0 {
		line("MQTT", fmt.Sprintf("%s:%d", conn.Hub, conn.MQTTPort))
	}
	if conn.AMQPPort != 0 {
		line("AMQP", fmt.Sprintf("%s:%d", conn.Hub, conn.AMQPPort))
	}
	if conn.CAFile != "" {
		line("CA to trust", conn.CAFile)
	}
	b.WriteByte('\n')
	line("Owner", conn.OwnerConnectionString)
	line("Service", conn.ServiceConnectionString)
	line("Device", conn.DeviceConnectionString)
	if conn.EventHubsConnectionString != "" {
		line("Event Hubs", conn.EventHubsConnectionString)
	}
	if conn.DPSIDScope != "" {
		line("Provisioning", fmt.Sprintf("%s, id scope %s, key of group %s: %s", conn.DPSGlobalEndpoint, conn.DPSIDScope, quickGroup, conn.DPSGroupKey))
	}
	if q.fellBack {
		fmt.Fprintf(&b, `
Note: this user may not use port 443, so HTTPS is on %d. Clients that take a port,
like this program, work all the same. The Azure SDKs know no other port than 443
for HTTPS, for WebSockets and for the service API; MQTT on %d is not concerned.
Grant the right once, and start again:
  %s
or, until the next boot:
  sudo sysctl net.ipv4.ip_unprivileged_port_start=443
`, conn.HTTPSPort, conn.MQTTPort, cloud.GrantCommand)
	}
	data := ""
	if d := config.Default().Data; q.data != q.st.Path(d) {
		data = " --data " + q.relative(q.data)
	}
	fmt.Fprintf(&b, `
Try in another terminal:
  causeway device create my-device%[1]s
  causeway twin update %[2]s --desired '{"telemetryInterval": 0.2}'%[1]s
  causeway method invoke %[2]s ping --payload '"hello"'%[1]s
  causeway c2d send %[2]s --body 'hello'%[1]s
`, data, quickSensor)
	if conn.DPSGroupKey != "" {
		fmt.Fprintf(&b, "  causeway dps register press-1%s    # finds its hub by the id scope and the key of its group\n", data)
	}
	b.WriteString("\nLive telemetry; Ctrl-C stops:\n")
	fmt.Fprint(q.st.Stdout, b.String())
}

func (q *quickstart) relative(path string) string {
	if rel, err := filepath.Rel(q.st.Dir, path); err == nil && !strings.HasPrefix(rel, "..") {
		return "./" + rel
	}
	return path
}
