package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// enrollmentWords is how commands speak of a kind of enrollments.
type enrollmentWords struct {
	kind client.EnrollmentKind
	name string // of the family of commands
	arg  string
	what string
}

var (
	individualWords = enrollmentWords{client.IndividualEnrollment, "enrollment", "REGISTRATION", "an enrollment"}
	groupWords      = enrollmentWords{client.EnrollmentGroup, "group", "GROUP", "an enrollment group"}
)

// newCmdDPSEnrollment returns the commands about enrollments of single devices, or
// about those of groups.
func newCmdDPSEnrollment(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	cmd := family(w.name, "Admit single devices to a provisioning service")
	cmd.Long = `An enrollment admits one device, known by its registration id, and says how it proves
who it is, which hub it gets, and what its twin begins with. It goes before a group,
also to keep a device of a group out: create one and disable it.`
	if w.kind == client.EnrollmentGroup {
		cmd.Aliases = []string{"enrollment-group"}
		cmd.Short = "Admit devices that have a key or a certificate of a group"
		cmd.Long = `An enrollment group admits every device that has a key derived from the group's, or a
certificate that was signed by the group's, and says which hubs they get and what
their twins begin with.`
	}
	cmd.AddCommand(
		newCmdEnrollmentCreate(st, l, w), newCmdEnrollmentList(st, l, w), newCmdEnrollmentShow(st, l, w), newCmdEnrollmentUpdate(st, l, w),
		newCmdEnrollmentDelete(st, l, w), newCmdEnrollmentKeys(st, l, w), newCmdEnrollmentImport(st, l, w),
	)
	if w.kind == client.EnrollmentGroup {
		cmd.AddCommand(newCmdComputeKey(st, l, "GROUP"))
	}
	return cmd
}

// withEnrollments runs f with a client of the provisioning service that was found.
func (l *dpsLogin) withEnrollments(ctx context.Context, f func(context.Context, *client.Enrollments) error) error {
	c, err := l.enrollments(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

// completeEnrollments offers the ids of enrollments to the shell.
func (l *dpsLogin) completeEnrollments(kind client.EnrollmentKind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) (ids []string, _ cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
		defer cancel()
		// A shell has no place for errors.
		_ = l.withEnrollments(ctx, func(ctx context.Context, c *client.Enrollments) error {
			p, err := c.Page(ctx, kind, 1000, "")
			for i := range p.Items {
				if id := p.Items[i].ID(); strings.HasPrefix(id, prefix) {
					ids = append(ids, id)
				}
			}
			return err
		})
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

func newCmdEnrollmentCreate(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use: "create " + w.arg, Aliases: []string{"add"}, Short: "Make " + w.what, Args: exactArgs(w.arg),
		Long: `Makes ` + w.what + `. Devices prove who they are with keys, which are generated
unless they are given, with certificates, or with a TPM: the flags that are given say
which. JSON @FILE is read from a file.`,
		Example: `  causeway dps enrollment create press-7 --show-keys
  causeway dps enrollment create press-8 --certificate-path press-8.pem --initial-twin-tags '{"line": 8}'
  causeway dps enrollment create press-9 --provisioning-status disabled`,
	}
	if w.kind == client.EnrollmentGroup {
		cmd.Long = `Makes an enrollment group. Devices prove who they are with keys that are derived from
the group's, which are generated unless they are given, or with certificates: the
flags that are given say which. JSON @FILE is read from a file.`
		cmd.Example = `  causeway dps group create presses --allocation-policy hashed --show-keys
  causeway dps group create plant --certificate-path plant-ca.pem`
	}
	out, f := addOutput(cmd, st), addEnrollmentFlags(cmd, w.kind, false)
	addShowKeys(cmd, &keys)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e := client.Enrollment{RegistrationID: args[0]}
		if w.kind == client.EnrollmentGroup {
			e = client.Enrollment{GroupID: args[0]}
		}
		if err := f.apply(cmd, st, &e); err != nil {
			return err
		}
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			e, err := c.Create(ctx, e)
			if err != nil {
				return err
			}
			if !keys {
				e.Attestation.SymmetricKey = nil
			}
			return out.print(e, func(t *table) { enrollmentTable(t, &e) })
		})
	}
	return cmd
}

func newCmdEnrollmentList(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	var top int
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the enrollments of single devices", Args: noArgs}
	if w.kind == client.EnrollmentGroup {
		cmd.Short = "List the enrollment groups"
	}
	out := addOutput(cmd, st)
	cmd.Flags().IntVar(&top, "top", 0, "at most this `number`; 0 is all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if top < 0 {
			return usagef("--top %d is below 0", top)
		}
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			list := []client.Enrollment{}
			for e, err := range c.All(ctx, w.kind) {
				if err != nil {
					return err
				}
				if list = append(list, e); len(list) == top {
					break
				}
			}
			return out.print(list, func(t *table) { enrollmentRows(t, w, list) })
		})
	}
	return cmd
}

// getEnrollment reads an enrollment, with its keys if they are wanted.
func getEnrollment(ctx context.Context, c *client.Enrollments, kind client.EnrollmentKind, id string, keys bool) (client.Enrollment, error) {
	e, err := c.Get(ctx, kind, id)
	if err != nil || !keys || e.Attestation.Type != "symmetricKey" {
		return e, err
	}
	e.Attestation, err = c.Attestation(ctx, kind, id)
	return e, err
}

func newCmdEnrollmentShow(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use: "show " + w.arg, Aliases: []string{"get"}, Short: "Show " + w.what, Args: exactArgs(w.arg), ValidArgsFunction: l.completeEnrollments(w.kind),
	}
	out := addOutput(cmd, st)
	addShowKeys(cmd, &keys)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			e, err := getEnrollment(ctx, c, w.kind, args[0], keys)
			if err != nil {
				return err
			}
			return out.print(e, func(t *table) { enrollmentTable(t, &e) })
		})
	}
	return cmd
}

func newCmdEnrollmentUpdate(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	var match string
	var keys bool
	cmd := &cobra.Command{
		Use: "update " + w.arg, Short: "Change " + w.what, Args: exactArgs(w.arg), ValidArgsFunction: l.completeEnrollments(w.kind),
		Long: `Changes what flags are given for and leaves the rest, keys and certificates included.
To replace a certificate, add the new one as the secondary, bring it to the devices,
and remove the primary: the secondary takes its place.`,
		Example: fmt.Sprintf("  causeway dps %s update %s --provisioning-status disabled", w.name, map[bool]string{true: "presses", false: "press-7"}[w.kind == client.EnrollmentGroup]),
	}
	out, f := addOutput(cmd, st), addEnrollmentFlags(cmd, w.kind, true)
	addShowKeys(cmd, &keys)
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !f.any(cmd) {
			return usagef("nothing to change: pass flags of what is to be different")
		}
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			e, err := getEnrollment(ctx, c, w.kind, args[0], f.primaryKey != "" || f.secondaryKey != "")
			if err != nil {
				return err
			}
			// What was read must still hold when it is written, or the change
			// of somebody else in between would be undone.
			if match == "" {
				match = e.ETag
			}
			if err := f.apply(cmd, st, &e); err != nil {
				return err
			}
			if e, err = c.Put(ctx, e, match); err != nil {
				return err
			}
			if !keys {
				e.Attestation.SymmetricKey = nil
			}
			return out.print(e, func(t *table) { enrollmentTable(t, &e) })
		})
	}
	return cmd
}

func newCmdEnrollmentDelete(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "delete " + w.arg, Aliases: []string{"rm"}, Short: "Remove " + w.what + "; devices stay on their hubs",
		Args: exactArgs(w.arg), ValidArgsFunction: l.completeEnrollments(w.kind),
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			if err := c.Delete(ctx, w.kind, args[0], match); err != nil {
				return err
			}
			_, err := fmt.Fprintf(st.Stderr, "deleted %s %s\n", w.name, args[0])
			return err
		})
	}
	return cmd
}

func newCmdEnrollmentKeys(st *state.State, l *dpsLogin, w enrollmentWords) *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys " + w.arg, Short: "Show the symmetric keys of " + w.what, Args: exactArgs(w.arg), ValidArgsFunction: l.completeEnrollments(w.kind),
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			k, err := keysOfEnrollment(ctx, c, w.kind, args[0])
			if err != nil {
				return err
			}
			return out.print(k, func(t *table) {
				t.row("primary", k.PrimaryKey)
				t.row("secondary", k.SecondaryKey)
			})
		})
	}
	return cmd
}

func keysOfEnrollment(ctx context.Context, c *client.Enrollments, kind client.EnrollmentKind, id string) (*client.SymmetricKey, error) {
	a, err := c.Attestation(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	if a.SymmetricKey == nil || a.SymmetricKey.PrimaryKey == "" {
		return nil, fmt.Errorf("%s has no keys; its attestation is %s", id, a.Type)
	}
	return a.SymmetricKey, nil
}

func enrollmentRows(t *table, w enrollmentWords, list []client.Enrollment) {
	if w.kind == client.EnrollmentGroup {
		t.row("GROUP", "ATTESTATION", "STATUS", "ALLOCATION", "HUBS", "UPDATED")
		for _, e := range list {
			t.row(e.GroupID, e.Attestation.Type, e.Status, e.AllocationPolicy, strings.Join(e.Hubs, ", "), e.Updated.Time)
		}
		return
	}
	t.row("REGISTRATION", "ATTESTATION", "STATUS", "STATE", "HUB", "DEVICE", "UPDATED")
	for _, e := range list {
		s := e.State
		if s == nil {
			s = &client.RegistrationState{}
		}
		t.row(e.RegistrationID, e.Attestation.Type, e.Status, s.Status, s.Hub, s.DeviceID, e.Updated.Time)
	}
}

func enrollmentTable(t *table, e *client.Enrollment) {
	if e.GroupID != "" {
		t.row("group", e.GroupID)
	} else {
		t.row("registration", e.RegistrationID)
		t.row("device", e.DeviceID)
	}
	t.row("status", e.Status)
	t.row("attestation", e.Attestation.Type)
	attestationRows(t, &e.Attestation)
	t.row("allocation", strings.TrimSpace(e.AllocationPolicy+" "+strings.Join(e.Hubs, ", ")))
	if e.Webhook != nil {
		t.row("webhook", e.Webhook.URL)
	}
	t.row("when it registers again", reprovisionText(e.Reprovision))
	if e.Capabilities != nil && e.Capabilities.IoTEdge {
		t.row("edge", "yes")
	}
	if i := e.InitialTwin; i != nil {
		t.row("initial tags", i.Tags)
		t.row("initial desired", i.Properties.Desired)
	}
	if len(e.Information) > 0 {
		t.row("information", e.Information)
	}
	if e.CredentialPolicy != "" {
		t.row("credential policy", e.CredentialPolicy)
	}
	if s := e.State; s != nil {
		t.row("state", strings.TrimSpace(s.Status+" "+s.Hub+" "+s.DeviceID))
	}
	t.row("created", e.Created.Time)
	t.row("updated", e.Updated.Time)
	t.row("etag", strings.Trim(e.ETag, `"`))
}

func attestationRows(t *table, a *client.EnrollmentAttestation) {
	if k := a.SymmetricKey; k != nil && k.PrimaryKey != "" {
		t.row("primary key", k.PrimaryKey)
		t.row("secondary key", k.SecondaryKey)
	}
	if a.TPM != nil {
		t.row("endorsement key", a.TPM.EndorsementKey)
	}
	if a.X509 == nil {
		return
	}
	pair := a.X509.Client
	if pair == nil {
		pair = a.X509.Signing
	}
	if pair != nil {
		for i, c := range []*client.EnrollmentCertificate{pair.Primary, pair.Secondary} {
			if c != nil && c.Info != nil {
				t.row([]string{"certificate", "second certificate"}[i], fmt.Sprintf("%s, until %s, SHA-256 %s", c.Info.Subject, cell(c.Info.NotAfter.Time), c.Info.SHA256))
			}
		}
	}
	if r := a.X509.Authorities; r != nil {
		t.row("authorities", strings.Join(slices.DeleteFunc([]string{r.Primary, r.Secondary}, func(s string) bool { return s == "" }), ", "))
	}
}
