package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// completionWait bounds how long a shell waits for the ids of devices.
const completionWait = 2 * time.Second

// NewCmdDevice returns the commands about devices.
func NewCmdDevice(st *state.State) *cobra.Command {
	cmd := family("device", "Register, show and change devices")
	l := addLogin(cmd, st)
	cmd.AddCommand(
		newCmdDeviceCreate(st, l), newCmdDeviceList(st, l), newCmdDeviceShow(st, l), newCmdDeviceUpdate(st, l),
		newCmdDeviceDelete(st, l), newCmdKeys(st, l, false), newCmdConnectionString(st, l, false), newCmdSAS(st, l, false),
	)
	return cmd
}

// proof is the flags that say how an identity authenticates.
type proof struct {
	auth                 string
	primary, secondary   string
	thumb, secondaryThmb string
}

func addProof(cmd *cobra.Command) *proof {
	p := &proof{}
	f := cmd.Flags()
	f.StringVar(&p.auth, "auth", "", "`type` of authentication: sas, selfSigned, certificateAuthority")
	f.StringVar(&p.primary, "primary-key", "", "base64 `key`; default: generated")
	f.StringVar(&p.secondary, "secondary-key", "", "base64 `key`; default: generated")
	f.StringVar(&p.thumb, "thumbprint", "", "hex SHA-1 or SHA-256 `hash` of the device's certificate; implies --auth selfSigned")
	f.StringVar(&p.secondaryThmb, "secondary-thumbprint", "", "`hash` of a second certificate")
	_ = cmd.RegisterFlagCompletionFunc("auth", cobra.FixedCompletions([]string{"sas", "selfSigned", "certificateAuthority"}, cobra.ShellCompDirectiveNoFileComp))
	return p
}

// authentication returns what the flags say, nil when they say nothing.
func (p *proof) authentication() (*client.Authentication, error) {
	a := &client.Authentication{Type: p.auth}
	if p.thumb != "" || p.secondaryThmb != "" {
		if a.Type == "" {
			a.Type = "selfSigned"
		}
		if a.Type != "selfSigned" {
			return nil, usagef("--thumbprint and --secondary-thumbprint go with --auth selfSigned, not with %s", a.Type)
		}
		a.X509Thumbprint = &client.X509Thumbprint{PrimaryThumbprint: p.thumb, SecondaryThumbprint: p.secondaryThmb}
	}
	if (p.primary == "") != (p.secondary == "") {
		return nil, usagef("--primary-key and --secondary-key belong together")
	}
	if p.primary != "" {
		if a.Type == "" {
			a.Type = "sas"
		}
		if a.Type != "sas" {
			return nil, usagef("--primary-key and --secondary-key go with --auth sas, not with %s", a.Type)
		}
		a.SymmetricKey = &client.SymmetricKey{PrimaryKey: p.primary, SecondaryKey: p.secondary}
	}
	if a.Type == "" {
		return nil, nil
	}
	return a, nil
}

func newCmdDeviceCreate(st *state.State, l *login) *cobra.Command {
	var edge, disabled bool
	var reason string
	cmd := &cobra.Command{
		Use: "create DEVICE", Aliases: []string{"add"}, Short: "Register a device", Args: exactArgs("DEVICE"),
		Example: "  causeway device create pump-7\n  causeway device create pump-8 --thumbprint 2FD4E1C67A2D28FCED849EE1BB76E7391B93EB12",
	}
	out, p := addOutput(cmd, st), addProof(cmd)
	cmd.Flags().BoolVar(&edge, "edge", false, "the device is an edge gateway")
	cmd.Flags().BoolVar(&disabled, "disabled", false, "do not let it connect yet")
	cmd.Flags().StringVar(&reason, "status-reason", "", "`text` that says why it is disabled")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d := client.DeviceIdentity{DeviceID: args[0], Status: "enabled", StatusReason: reason}
		if disabled {
			d.Status = "disabled"
		}
		if edge {
			d.Capabilities = &client.Capabilities{IoTEdge: true}
		}
		var err error
		if d.Authentication, err = p.authentication(); err != nil {
			return err
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			d, err := s.CreateDevice(ctx, d)
			if err != nil {
				return err
			}
			return out.print(d, func(t *table) { deviceTable(t, s.Host(), d) })
		})
	}
	return cmd
}

// with runs f with a client of the hub that was found.
func (l *login) with(ctx context.Context, f func(context.Context, *client.Service) error) error {
	s, err := l.service(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(ctx, s)
}

func deviceTable(t *table, host string, d client.DeviceIdentity) {
	t.row("device", d.DeviceID)
	t.row("status", strings.TrimSpace(d.Status+" "+d.StatusReason))
	t.row("connection", d.ConnectionState)
	t.row("last activity", d.LastActivityTime.Time)
	t.row("queued commands", d.CloudToDeviceMessageCount)
	if a := d.Authentication; a != nil {
		t.row("authentication", a.Type)
		if a.X509Thumbprint != nil && a.X509Thumbprint.PrimaryThumbprint != "" {
			t.row("thumbprint", a.X509Thumbprint.PrimaryThumbprint)
		}
	}
	if d.Capabilities != nil && d.Capabilities.IoTEdge {
		t.row("edge", "yes")
		t.row("scope", d.DeviceScope)
	}
	t.row("etag", d.ETag)
	t.row("connection string", client.ConnectionString(host, d.DeviceID, "", d.Authentication))
}

func newCmdDeviceList(st *state.State, l *login) *cobra.Command {
	var top int
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List devices", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.Flags().IntVar(&top, "top", 0, "at most this `number`, up to 1000")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			list, err := s.Devices(ctx, top)
			if err != nil {
				return err
			}
			if list == nil {
				list = []client.DeviceIdentity{}
			}
			if top == 0 && len(list) >= causeway.MaxPageSize {
				fmt.Fprintf(st.Stderr, "these are %d, there may be more: 'causeway query \"SELECT * FROM devices\"' shows all\n", len(list))
			}
			slices.SortFunc(list, func(a, b client.DeviceIdentity) int { return strings.Compare(a.DeviceID, b.DeviceID) })
			return out.print(list, func(t *table) {
				t.row("DEVICE", "STATUS", "CONNECTION", "AUTHENTICATION", "LAST ACTIVITY", "QUEUED")
				for _, d := range list {
					auth := ""
					if d.Authentication != nil {
						auth = d.Authentication.Type
					}
					t.row(d.DeviceID, d.Status, d.ConnectionState, auth, d.LastActivityTime.Time, d.CloudToDeviceMessageCount)
				}
			})
		})
	}
	return cmd
}

func newCmdDeviceShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show DEVICE", Aliases: []string{"get"}, Short: "Show a device", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			d, err := s.Device(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(d, func(t *table) { deviceTable(t, s.Host(), d) })
		})
	}
	return cmd
}

func newCmdDeviceUpdate(st *state.State, l *login) *cobra.Command {
	var status, reason, match string
	cmd := &cobra.Command{
		Use: "update DEVICE", Short: "Change a device's status or authentication", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
		Example: "  causeway device update pump-7 --status disabled --status-reason 'stolen'",
	}
	out, p := addOutput(cmd, st), addProof(cmd)
	cmd.Flags().StringVar(&status, "status", "", "enabled or disabled")
	cmd.Flags().StringVar(&reason, "status-reason", "", "`text` that says why")
	addMatch(cmd, &match)
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"enabled", "disabled"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		auth, err := p.authentication()
		if err != nil {
			return err
		}
		if status == "" && auth == nil && !cmd.Flags().Changed("status-reason") {
			return usagef("nothing to change: pass --status, --status-reason, or flags of the authentication")
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			d, err := s.Device(ctx, args[0])
			if err != nil {
				return err
			}
			if status != "" {
				d.Status = status
			}
			if cmd.Flags().Changed("status-reason") || status != "" {
				d.StatusReason = reason
			}
			if auth != nil {
				d.Authentication = auth
			}
			// What was read must still hold when it is written, or the change
			// of somebody else in between would be undone.
			if match == "" {
				match = d.ETag
			}
			if d, err = s.UpdateDevice(ctx, d, match); err != nil {
				return err
			}
			return out.print(d, func(t *table) { deviceTable(t, s.Host(), d) })
		})
	}
	return cmd
}

func addMatch(cmd *cobra.Command, match *string) {
	cmd.Flags().StringVar(match, "if-match", "", "do it only if the `etag` still is this; '*' for any")
}

func newCmdDeviceDelete(st *state.State, l *login) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "delete DEVICE", Aliases: []string{"rm"}, Short: "Remove a device with its modules, twin and queue",
		Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			if err := s.DeleteDevice(ctx, args[0], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted device %s\n", args[0])
			return nil
		})
	}
	return cmd
}

// authOf returns the authentication of a device, or of a module of it.
func authOf(ctx context.Context, s *client.Service, args []string, module bool) (*client.Authentication, string, error) {
	if module {
		m, err := s.Module(ctx, args[0], args[1])
		return m.Authentication, args[1], err
	}
	d, err := s.Device(ctx, args[0])
	return d.Authentication, "", err
}

func target2(module bool, verb string) (use string, args cobra.PositionalArgs) {
	if module {
		return verb + " DEVICE MODULE", exactArgs("DEVICE", "MODULE")
	}
	return verb + " DEVICE", exactArgs("DEVICE")
}

func newCmdKeys(st *state.State, l *login, module bool) *cobra.Command {
	use, args := target2(module, "keys")
	cmd := &cobra.Command{Use: use, Short: "Show the symmetric keys", Args: args, ValidArgsFunction: l.completeDevices}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			a, _, err := authOf(ctx, s, args, module)
			if err != nil {
				return err
			}
			if a == nil || a.SymmetricKey == nil || a.SymmetricKey.PrimaryKey == "" {
				return fmt.Errorf("%s has no keys; it authenticates with certificates", strings.Join(args, "/"))
			}
			return out.print(a.SymmetricKey, func(t *table) {
				t.row("primary", a.SymmetricKey.PrimaryKey)
				t.row("secondary", a.SymmetricKey.SecondaryKey)
			})
		})
	}
	return cmd
}

func newCmdConnectionString(st *state.State, l *login, module bool) *cobra.Command {
	var secondary bool
	use, args := target2(module, "connection-string")
	cmd := &cobra.Command{Use: use, Short: "Print what to configure the client with", Args: args, ValidArgsFunction: l.completeDevices}
	cmd.Flags().BoolVar(&secondary, "secondary", false, "with the secondary key")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			a, m, err := authOf(ctx, s, args, module)
			if err != nil {
				return err
			}
			if secondary && a != nil && a.SymmetricKey != nil {
				a.SymmetricKey.PrimaryKey = a.SymmetricKey.SecondaryKey
			}
			cs := client.ConnectionString(s.Host(), args[0], m, a)
			if cs == "" {
				return fmt.Errorf("%s has no keys", strings.Join(args, "/"))
			}
			_, err = fmt.Fprintln(st.Stdout, cs)
			return err
		})
	}
	return cmd
}

func newCmdSAS(st *state.State, l *login, module bool) *cobra.Command {
	ttl := time.Hour
	use, args := target2(module, "sas")
	cmd := &cobra.Command{
		Use: use, Short: "Sign an access token for the client", Args: args, ValidArgsFunction: l.completeDevices,
		Long: "Signs a shared access signature with the primary key, for clients that take a token instead of a key.",
	}
	cmd.Flags().DurationVar(&ttl, "ttl", ttl, "how long it is valid")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if ttl <= 0 {
			return usagef("--ttl %v is over before it begins", ttl)
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			a, m, err := authOf(ctx, s, args, module)
			if err != nil {
				return err
			}
			if a == nil || a.SymmetricKey == nil {
				return fmt.Errorf("%s has no keys to sign with", strings.Join(args, "/"))
			}
			key, err := decodeKey(a.SymmetricKey.PrimaryKey)
			if err != nil {
				return err
			}
			resource := s.Host() + "/devices/" + url.PathEscape(args[0])
			if m != "" {
				resource += "/modules/" + url.PathEscape(m)
			}
			_, err = fmt.Fprintln(st.Stdout, sas.Sign(resource, key, "", time.Now().Add(ttl)))
			return err
		})
	}
	return cmd
}
