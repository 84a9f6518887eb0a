package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli/bench"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// benchFlags are common to all benchmarks.
type benchFlags struct {
	st     *state.State
	login  *login
	target string
	name   string
	pid    int
	repeat int
	file   string
	load   bench.Load
}

// NewCmdBench returns the commands that measure a hub or broker.
func NewCmdBench(st *state.State) *cobra.Command {
	b := &benchFlags{st: st, load: bench.Load{
		Devices: 200, Depth: 10, Size: 256, QoS: 1, Warmup: 2 * time.Second, Duration: 10 * time.Second,
		Dialing: 64, Settle: 30 * time.Second, Listen: true, Preload: 200_000, Credit: 10_000, Rate: 1000,
	}}
	cmd := family("bench", "Measure a hub, or any MQTT or AMQP broker, under load")
	cmd.Long = `Drives a hub from outside as many devices would, and prints what it does as a table
or as JSON. With --target mqtts://host:port it drives any MQTT broker over TLS, for
comparison: devices then need no identity and publish to bench/NAME. With --target
amqp://user:password@host:port/queue (amqps:// over TLS) amqp-d2c drives any AMQP 1.0
broker: every connection logs in by SASL PLAIN and sends durable messages to the node
that the path names.

For numbers that mean something, keep the server and this command from taking each
other's processor: bench/run.sh pins each to its own core.`
	b.login = addLogin(cmd, st)
	f := cmd.PersistentFlags()
	f.StringVar(&b.target, "target", "", "plain broker: mqtts://`host:port`, or amqp[s]://user:password@host:port/node")
	f.StringVar(&b.name, "name", "", "`name` of the server in reports")
	f.IntVar(&b.pid, "pid", 0, "`process` of the server, for its memory; default: who listens on the port, on this machine")
	f.IntVar(&b.repeat, "repeat", 1, "measure so many times and report the median")
	f.StringVar(&b.file, "save", "", "also write the result as JSON to this `file`")
	f.IntVarP(&b.load.Devices, "devices", "n", b.load.Devices, "`number` of devices")
	f.IntVar(&b.load.Depth, "depth", b.load.Depth, "messages in flight per device; for method and c2d, calls at once")
	f.IntVar(&b.load.Size, "size", b.load.Size, "`bytes` of a message")
	f.IntVar(&b.load.QoS, "qos", b.load.QoS, "0 or 1")
	f.BoolVar(&b.load.JSON, "json", b.load.JSON, "d2c: messages say that they are JSON, as conditions of routes want it")
	f.DurationVar(&b.load.Warmup, "warmup", b.load.Warmup, "time that is not counted")
	f.DurationVar(&b.load.Duration, "duration", b.load.Duration, "time that is counted")
	f.IntVar(&b.load.Dialing, "dialing", b.load.Dialing, "handshakes under way at once")
	f.DurationVar(&b.load.Settle, "settle", b.load.Settle, "idle: how long the server's memory may take to settle")
	f.BoolVar(&b.load.Listen, "listen", b.load.Listen, "idle: subscribe to commands, methods and twin as a device does")
	f.IntVar(&b.load.Preload, "events", b.load.Preload, "events: `number` of events that are stored, and then read again and again")
	f.IntVar(&b.load.Credit, "credit", b.load.Credit, "events: how many the reader asks for ahead")
	f.Float64Var(&b.load.Rate, "rate", b.load.Rate, "latency: messages per second, of all devices together")
	for _, w := range bench.Workloads() {
		cmd.AddCommand(newCmdBenchOne(st, b, w))
	}
	cmd.AddCommand(newCmdBenchAll(st, b), newCmdBenchShow(st))
	return cmd
}

func newCmdBenchOne(st *state.State, b *benchFlags, w bench.Workload) *cobra.Command {
	cmd := &cobra.Command{Use: w.Name, Short: strings.ToUpper(w.About[:1]) + w.About[1:], Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return b.run(cmd.Context(), out, []measure{{w, b.load}})
	}
	return cmd
}

// newCmdBenchShow returns the command that puts saved results side by side.
func newCmdBenchShow(st *state.State) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show FILE...", Short: "Print saved results as one table", Long: "Prints results that were written with --save, those of the same workload beside each other. Those of the same server and setting become one, the median of all their runs.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{err: errors.New("FILE is missing"), cmd: cmd.CommandPath()}
			}
			return nil
		},
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var all []bench.Result
		for _, file := range args {
			b, err := st.ReadFile(file)
			if err != nil {
				return err
			}
			var list []bench.Result
			if err := json.Unmarshal(b, &list); err != nil {
				return fmt.Errorf("%s is no result of a benchmark: %w", file, err)
			}
			all = append(all, list...)
		}
		all = bench.Merge(all)
		order := map[string]int{}
		for i, w := range bench.Workloads() {
			order[w.Name] = i
		}
		slices.SortStableFunc(all, func(a, b bench.Result) int {
			return cmp.Or(cmp.Compare(order[a.Workload], order[b.Workload]), cmp.Compare(setting(a.Setting), setting(b.Setting)))
		})
		return out.print(all, func(t *table) { benchTable(t, all) })
	}
	return cmd
}

type measure struct {
	w bench.Workload
	l bench.Load
}

func newCmdBenchAll(st *state.State, b *benchFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "all", Short: "Run every workload", Args: noArgs,
		Long: "Runs every workload that the server knows, telemetry with QoS 0 and 1, at a depth of 1 and of --depth.",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list []measure
		for _, w := range bench.Workloads() {
			switch {
			case w.Name != "d2c":
				list = append(list, measure{w, b.load})
			default:
				for _, v := range []struct{ qos, depth int }{{1, 1}, {1, b.load.Depth}, {0, b.load.Depth}} {
					l := b.load
					l.QoS, l.Depth = v.qos, v.depth
					list = append(list, measure{w, l})
				}
			}
		}
		return b.run(cmd.Context(), out, list)
	}
	return cmd
}

func (b *benchFlags) run(ctx context.Context, out *output, list []measure) error {
	if err := out.check(); err != nil {
		return err
	}
	if b.repeat < 1 {
		return usagef("--repeat %d: once is the least", b.repeat)
	}
	for _, m := range list {
		if err := m.l.Validate(); err != nil {
			return &usageError{err: err}
		}
		if err := enoughFiles(m.l.Devices); err != nil {
			return err
		}
	}
	t, done, err := b.find(ctx)
	if err != nil {
		return err
	}
	defer done()
	var results []bench.Result
	for _, m := range list {
		if len(list) > 1 && t.Lacks(m.w) != "" {
			continue // of all, those that there are
		}
		l := m.l
		l.Progress = b.progress(m.w.Name)
		r, err := bench.Measure(ctx, m.w, t, l, b.repeat)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	if b.file != "" {
		text, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		if err := state.MakeDir(filepath.Dir(b.st.Path(b.file))); err != nil {
			return err
		}
		if err := state.WriteFile(b.st.Path(b.file), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return out.print(results, func(t *table) { benchTable(t, results) })
}

// find returns the server that is to be measured.
func (b *benchFlags) find(ctx context.Context) (*bench.Target, func(), error) {
	t := &bench.Target{Name: b.name, PID: b.pid}
	done := func() {}
	if b.target != "" {
		if err := b.plain(t); err != nil {
			return nil, nil, err
		}
	} else {
		tg, err := b.login.find(ctx)
		if err != nil {
			return nil, nil, err
		}
		if t.Service, err = tg.service(); err != nil {
			return nil, nil, err
		}
		done = t.Service.Close
		port := tg.options.MQTTPort
		if port == 0 {
			port = client.DefaultMQTTPort
		}
		t.Host, t.RootCAs = t.Service.Host(), tg.options.RootCAs
		t.Address = net.JoinHostPort(t.Host, strconv.Itoa(port))
		if at := tg.options.AMQPPort; at != 0 || tg.local == nil {
			if at == 0 {
				at = client.DefaultAMQPPort
			}
			t.AMQPAddress = net.JoinHostPort(t.Host, strconv.Itoa(at))
		}
		t.Events = client.EventsOptions{Options: tg.options, ConnectionString: tg.connectionString}
		cs, err := sas.ParseConnectionString(tg.connectionString)
		if err != nil {
			return nil, nil, &usageError{err: err}
		}
		// Not the key itself: what is made from it ends up in the registry.
		sum := sha256.Sum256([]byte("bench devices of " + cs.SharedAccessKey))
		t.Key = []byte(base64.StdEncoding.EncodeToString(sum[:]))
		if t.Name == "" {
			t.Name = "causeway"
		}
	}
	if t.PID == 0 {
		if _, port, err := net.SplitHostPort(t.Address); err == nil {
			if n, err := net.LookupPort("tcp", port); err == nil {
				t.PID = state.PortProcess(n)
			}
		}
	}
	return t, done, nil
}

// plain makes a target of --target.
func (b *benchFlags) plain(t *bench.Target) error {
	wrong := usagef("--target %q is none of mqtts://host:port, amqp://user:password@host:port/node and amqps://…", redactURL(b.target))
	u, err := url.Parse(b.target)
	if err != nil || u.Port() == "" {
		return wrong
	}
	switch u.Scheme {
	case "mqtts":
		t.Address = u.Host
	case "amqp", "amqps":
		if u.Path == "" || u.Path == "/" {
			return wrong
		}
		password, _ := u.User.Password()
		t.Address, t.AMQPAddress = u.Host, u.Host
		t.Broker = &bench.Broker{TLS: u.Scheme == "amqps", User: u.User.Username(), Password: password, Node: u.Path}
	default:
		return wrong
	}
	tg := &target{}
	if err := b.login.trust(tg); err != nil {
		return err
	}
	t.Host, t.RootCAs = u.Hostname(), tg.options.RootCAs
	if t.Name == "" {
		t.Name = u.Host
	}
	return nil
}

// redactURL leaves a password out of an error.
func redactURL(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return "…"
}

// progress shows the preparation of a workload on a terminal.
func (b *benchFlags) progress(workload string) func(what string, done, of int) {
	var mu sync.Mutex
	var cur bar
	var what string
	return func(w string, done, of int) {
		mu.Lock()
		defer mu.Unlock()
		if w != what {
			what, cur = w, newBar(b.st, workload+": "+w, of)
		}
		cur.set(done)
		if done == of {
			cur.done()
			what = ""
		}
	}
}

func benchTable(t *table, results []bench.Result) {
	t.row("SERVER", "WORKLOAD", "SETTING", "PER SECOND", "P50", "P95", "P99", "MAX", "ERRORS", "BYTES/CONN")
	for _, r := range results {
		m := r.Median
		p50, p95, p99, most := "-", "-", "-", "-"
		if l := m.Latency; l != nil {
			p50, p95, p99, most = ms(l.P50), ms(l.P95), ms(l.P99), ms(l.Max)
		}
		bytes := "-"
		if m.Bytes != 0 {
			bytes = fmt.Sprintf("%.0f", m.Bytes)
		}
		t.row(r.Server, r.Workload, setting(r.Setting), fmt.Sprintf("%.0f", m.Rate), p50, p95, p99, most, m.Errors, bytes)
	}
}

func setting(s map[string]any) string {
	var parts []string
	for k, v := range s {
		parts = append(parts, fmt.Sprintf("%s=%v", k, v))
	}
	sort.Strings(parts)
	return strings.Join(parts, " ")
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
