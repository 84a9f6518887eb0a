package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/obs"
)

// server is the flags that cloud and quickstart have in common.
type server struct {
	st        *state.State
	cmd       *cobra.Command
	file      string
	ready     string
	flags     config.Config // only what was given counts
	drain     string
	retention string
}

func addServer(cmd *cobra.Command, st *state.State) *server {
	s := &server{st: st, cmd: cmd, flags: config.Default()}
	f := cmd.Flags()
	f.StringVar(&s.file, "config", "", "configuration `file`, see 'causeway config example'; default "+config.EnvConfig)
	f.StringVar(&s.ready, "ready-file", "", "write how to reach the cloud to this JSON `file` once everything answers")
	f.StringVar(&s.flags.Data, "data", s.flags.Data, "`directory` that keeps everything")
	f.StringVar(&s.flags.Listen.HTTPS, "https", s.flags.Listen.HTTPS, "`address` for REST, WebSockets and administration")
	f.StringVar(&s.flags.Listen.MQTT, "mqtt", s.flags.Listen.MQTT, "`address` for MQTT over TLS; '' serves none")
	f.StringVar(&s.flags.Listen.AMQP, "amqp", s.flags.Listen.AMQP, "`address` for AMQP over TLS")
	f.StringSliceVar(&s.flags.TLS.Names, "name", nil, "host `name` for the certificate, besides localhost and the machine's")
	f.StringVar(&s.flags.TLS.Certificate, "certificate", "", "PEM `file` with your own certificate chain")
	f.StringVar(&s.flags.TLS.Key, "key", "", "PEM `file` with its key")
	f.StringVar(&s.flags.Log.Format, "log-format", s.flags.Log.Format, "auto, text or json")
	f.StringVar(&s.flags.Log.Level, "log-level", s.flags.Log.Level, "debug, info, warn or error")
	f.StringVar(&s.retention, "retention", "", "how long telemetry is kept, e.g. 12h or 7d")
	f.StringVar(&s.drain, "drain", "", "how long connections may take to finish when stopping, e.g. 10s")
	f.StringVar(&s.flags.Trace.Endpoint, "trace", "", "send OpenTelemetry traces to this OTLP/HTTP `address`")
	f.BoolVar(&s.flags.Pprof, "pprof", false, "serve the Go profiler under /debug/pprof/ to the administrator")
	f.BoolVar(&s.flags.OpenMetrics, "open-metrics", false, "show /metrics to everybody who can reach the HTTPS port")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagDirname("data")
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"auto", "text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	return s
}

// loadConfig reads the defaults, the file and the environment.
func loadConfig(st *state.State, file string) (config.Config, []string, error) {
	if file == "" {
		file, _ = st.Getenv(config.EnvConfig)
	}
	var text []byte
	if file != "" {
		var err error
		if text, err = st.ReadFile(file); err != nil {
			return config.Config{}, nil, &usageError{err: fmt.Errorf("read configuration: %w", err)}
		}
	}
	cfg, unknown, err := config.Load(file, text, st.Env)
	if err != nil {
		return config.Config{}, nil, &usageError{err: err}
	}
	return cfg, unknown, nil
}

// config returns the configuration with the flags on top.
func (s *server) config() (config.Config, []string, error) {
	cfg, unknown, err := loadConfig(s.st, s.file)
	if err != nil {
		return cfg, nil, err
	}
	for flag, set := range map[string]func() error{
		"data":         func() error { cfg.Data = s.flags.Data; return nil },
		"https":        func() error { cfg.Listen.HTTPS = s.flags.Listen.HTTPS; return nil },
		"mqtt":         func() error { cfg.Listen.MQTT = s.flags.Listen.MQTT; return nil },
		"amqp":         func() error { cfg.Listen.AMQP = s.flags.Listen.AMQP; return nil },
		"name":         func() error { cfg.TLS.Names = s.flags.TLS.Names; return nil },
		"certificate":  func() error { cfg.TLS.Certificate = s.flags.TLS.Certificate; return nil },
		"key":          func() error { cfg.TLS.Key = s.flags.TLS.Key; return nil },
		"log-format":   func() error { cfg.Log.Format = s.flags.Log.Format; return nil },
		"log-level":    func() error { cfg.Log.Level = s.flags.Log.Level; return nil },
		"trace":        func() error { cfg.Trace.Endpoint = s.flags.Trace.Endpoint; return nil },
		"pprof":        func() error { cfg.Pprof = s.flags.Pprof; return nil },
		"open-metrics": func() error { cfg.OpenMetrics = s.flags.OpenMetrics; return nil },
		"retention":    func() error { return cfg.Events.Retention.UnmarshalText([]byte(s.retention)) },
		"drain":        func() error { return cfg.Stop.Drain.UnmarshalText([]byte(s.drain)) },
	} {
		if !s.cmd.Flags().Changed(flag) {
			continue
		}
		if err := set(); err != nil {
			return cfg, nil, usagef("--%s: %v", flag, err)
		}
	}
	cfg.Data = s.st.Path(cfg.Data)
	cfg.Blobs.SecretKeyFile, cfg.LinkedHubsCA = s.st.Path(cfg.Blobs.SecretKeyFile), s.st.Path(cfg.LinkedHubsCA)
	cfg.TLS.Certificate, cfg.TLS.Key = s.st.Path(cfg.TLS.Certificate), s.st.Path(cfg.TLS.Key)
	if err := cfg.Validate(); err != nil {
		return cfg, nil, &usageError{err: err}
	}
	if dir := filepath.Dir(s.st.Path(s.ready)); s.ready != "" && !state.Exists(dir) {
		return cfg, nil, usagef("--ready-file: there is no directory %s", dir)
	}
	return cfg, unknown, nil
}

func (s *server) logger(cfg *config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level = slog.LevelInfo // Validate has seen to it
	}
	format := cfg.Log.Format
	if format == "auto" && s.st.StderrTerminal {
		format = obs.FormatText
	}
	return obs.NewLogger(s.st.Stderr, format, level)
}

func (s *server) hostname() string {
	if s.st.Hostname == nil {
		return ""
	}
	name, err := s.st.Hostname()
	if err != nil {
		return "" // the certificate does without
	}
	return name
}

// gcPercent is how much garbage, in percent of what is in use, the server lets
// pile up. Its hot paths make next to none, so collecting twice as often as Go
// does by default costs little, and ten thousand idle connections take a quarter
// less memory.
const gcPercent = 50

// tuneMemory sets the garbage collector, unless the operator did.
func (s *server) tuneMemory() {
	if _, ok := s.st.Getenv("GOGC"); !ok {
		debug.SetGCPercent(gcPercent)
	}
}

// run runs a cloud until ctx ends. during is called once it is ready, and its
// end ends the cloud too; nil only waits.
func (s *server) run(ctx context.Context, c *cloud.Cloud, during func(ctx context.Context) error) error {
	s.tuneMemory()
	// The cloud outlives what uses it, so that clients can say goodbye.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(life) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		stop()
		return <-ended
	case <-c.Ready():
	}
	use, cancel := context.WithCancel(ctx)
	defer cancel()
	err := s.writeReady(c)
	if err == nil {
		done := make(chan error, 1)
		go func() {
			if during == nil {
				<-use.Done()
				done <- nil
				return
			}
			done <- during(use)
		}()
		select {
		case err = <-done:
		case early := <-ended:
			cancel()
			return errors.Join(early, <-done)
		}
	}
	stop()
	return errors.Join(err, <-ended)
}

func (s *server) writeReady(c *cloud.Cloud) error {
	if s.ready == "" {
		return nil
	}
	conn := c.Connection()
	return conn.Write(s.st.Path(s.ready))
}

// NewCmdCloud returns the command that runs a cloud.
func NewCmdCloud(st *state.State) *cobra.Command {
	var print bool
	cmd := &cobra.Command{
		Annotations: endlessly(), Use: "cloud", Short: "Run a cloud", Args: noArgs,
		Long: `Runs a cloud until it is interrupted: hubs, identities, twins, telemetry, with
everything it knows in one directory. Settings come from the defaults, a file
(--config), the environment (CAUSEWAY_LISTEN_HTTPS for listen.https) and flags;
later ones win.`,
		Example: "  causeway config example > causeway.yaml\n  causeway cloud --config causeway.yaml",
	}
	s := addServer(cmd, st)
	cmd.Flags().BoolVar(&print, "print-config", false, "print a configuration file with every setting and its default, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if print {
			_, err := fmt.Fprint(st.Stdout, config.Example())
			return err
		}
		cfg, unknown, err := s.config()
		if err != nil {
			return err
		}
		log := s.logger(&cfg)
		if len(unknown) > 0 {
			log.Warn("environment variables that begin like settings but are none", "names", unknown)
		}
		c, err := cloud.New(cmd.Context(), cfg, cloud.Options{Log: log, Hostname: s.hostname(), Version: version(st).Version})
		if err != nil {
			return err
		}
		return s.run(cmd.Context(), c, nil)
	}
	return cmd
}
