package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdDPSCert returns the commands about certificates of a provisioning service.
func newCmdDPSCert(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("cert", "Manage authorities, revoked and issued certificates of a provisioning service")
	cmd.Aliases = []string{"certificate"}
	cmd.Long = `Devices with X.509 certificates are admitted when an authority of the provisioning
service has issued them. Whoever uploads the certificate of an authority proves that
he has its key: 'code' gives a verification code, and 'verify' takes a certificate
with that as its common name, signed by the authority.`
	cmd.AddCommand(
		newCmdCertList(st, l), newCmdCertShow(st, l), newCmdCertAdd(st, l, true), newCmdCertAdd(st, l, false), newCmdCertDelete(st, l),
		newCmdCertCode(st, l), newCmdCertVerify(st, l), newCmdCertCRL(st, l), newCmdCertRevoke(st, l), newCmdCertUnrevoke(st, l), newCmdCertRevoked(st, l),
		newCmdCertIssued(st, l), newCmdCertIssuer(st, l),
	)
	return cmd
}

func certificateHeader(t *table) { t.row("NAME", "SUBJECT", "ENDS", "STATE", "VERIFIED", "SHA-256") }

func certificateRow(t *table, c client.ProvisioningCertificate) {
	p := c.Properties
	t.row(c.Name, p.Subject, p.Expiry.Time, p.State, p.IsVerified, p.Thumbprint)
}

func certificateTable(t *table, c client.ProvisioningCertificate) {
	p := c.Properties
	t.row("certificate", c.Name)
	t.row("subject", p.Subject)
	t.row("ends", p.Expiry.Time)
	t.row("state", p.State)
	t.row("verified", p.IsVerified)
	t.row("SHA-256", p.Thumbprint)
	if p.VerificationCode != "" {
		t.row("verification code", p.VerificationCode)
	}
	if r := p.RevocationList; r != nil {
		t.row("revocation list", fmt.Sprintf("%d entries", r.Entries))
		t.row("list issued", r.Issued.Time)
	}
	t.row("etag", c.ETag)
}

// readText reads a file that is PEM or DER, and returns text that the API takes.
func readText(st *state.State, file string) (string, error) {
	b, err := st.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	if bytes.Contains(b, []byte("-----BEGIN")) {
		return string(b), nil
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// etagOf returns the etag that an authority is to have: the one that was given, or
// the one it has now.
func etagOf(ctx context.Context, a *client.Admin, service, name, match string) (string, error) {
	if match != "" {
		return match, nil
	}
	c, err := a.ProvisioningCertificate(ctx, service, name)
	return c.ETag, err
}

func newCmdCertList(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the authorities", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			list, err := a.ProvisioningCertificates(ctx, name)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				certificateHeader(t)
				for _, c := range list {
					certificateRow(t, c)
				}
			})
		})
	}
	return cmd
}

func newCmdCertShow(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Aliases: []string{"get"}, Short: "Show an authority", Args: exactArgs("NAME")}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			c, err := a.ProvisioningCertificate(ctx, name, args[0])
			if err != nil {
				return err
			}
			return out.print(c, func(t *table) { certificateTable(t, c) })
		})
	}
	return cmd
}

// newCmdCertAdd returns the command that uploads an authority, or the one that
// replaces it.
func newCmdCertAdd(st *state.State, l *dpsLogin, add bool) *cobra.Command {
	var verified bool
	var match string
	cmd := &cobra.Command{
		Use: "add NAME FILE", Aliases: []string{"create", "upload"}, Short: "Upload the certificate of an authority, PEM or DER", Args: exactArgs("NAME", "FILE"),
		Example: `  causeway dps cert add plant plant-ca.pem --verified
  causeway dps group create presses --ca-name plant`,
	}
	if !add {
		cmd.Use, cmd.Aliases, cmd.Short = "update NAME FILE", nil, "Replace the certificate of an authority"
		cmd.Example = "  causeway dps cert update plant plant-ca-2027.pem --verified"
		addMatch(cmd, &match)
	}
	out := addOutput(cmd, st)
	cmd.Flags().BoolVar(&verified, "verified", false, "answer for its possession instead of proving it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		certificate, err := readText(st, args[1])
		if err != nil {
			return err
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) (err error) {
			if !add {
				if match, err = etagOf(ctx, a, name, args[0], match); err != nil {
					return err
				}
			}
			c, err := a.PutProvisioningCertificate(ctx, name, args[0], certificate, verified, match)
			if add && causeway.CodeOf(err) == causeway.GenericPreconditionFailed {
				err = causeway.Errorf(causeway.GenericConflict, "upload certificate", "the certificate %q is there already: replace it with 'causeway dps cert update'", args[0])
			}
			if err != nil {
				return err
			}
			return out.print(c, func(t *table) { certificateTable(t, c) })
		})
	}
	return cmd
}

func newCmdCertDelete(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{Use: "delete NAME", Aliases: []string{"rm", "remove"}, Short: "Remove an authority that no enrollment refers to", Args: exactArgs("NAME")}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) (err error) {
			if match, err = etagOf(ctx, a, name, args[0], match); err != nil {
				return err
			}
			if err := a.DeleteProvisioningCertificate(ctx, name, args[0], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "deleted certificate %s\n", args[0])
			return nil
		})
	}
	return cmd
}

func newCmdCertCode(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "code NAME", Aliases: []string{"generate-verification-code"}, Short: "Begin to prove the possession of an authority", Args: exactArgs("NAME"),
		Long: "Gives a verification code. Make a certificate that has it as its common name, sign it with the authority, and give it to 'causeway dps cert verify'.",
		Example: `  causeway dps cert code plant
  openssl req -new -newkey ec:<(openssl ecparam -name P-256) -nodes -keyout proof.key -subj "/CN=CODE" |
    openssl x509 -req -CA plant-ca.pem -CAkey plant-ca.key -days 1 -out proof.pem
  causeway dps cert verify plant proof.pem`,
	}
	addMatch(cmd, &match)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) (err error) {
			if match, err = etagOf(ctx, a, name, args[0], match); err != nil {
				return err
			}
			c, err := a.GenerateVerificationCode(ctx, name, args[0], match)
			if err != nil {
				return err
			}
			return out.print(c, func(t *table) { certificateTable(t, c) })
		})
	}
	return cmd
}

func newCmdCertVerify(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{Use: "verify NAME FILE", Short: "Prove the possession of an authority with a certificate that it has signed", Args: exactArgs("NAME", "FILE")}
	addMatch(cmd, &match)
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		proof, err := readText(st, args[1])
		if err != nil {
			return err
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) (err error) {
			if match, err = etagOf(ctx, a, name, args[0], match); err != nil {
				return err
			}
			c, err := a.VerifyProvisioningCertificate(ctx, name, args[0], proof, match)
			if err != nil {
				return err
			}
			return out.print(c, func(t *table) { certificateTable(t, c) })
		})
	}
	return cmd
}

func newCmdCertCRL(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "crl NAME FILE", Short: "Take over the revocation list (CRL) of an authority, PEM or DER", Args: exactArgs("NAME", "FILE")}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list, err := readText(st, args[1])
		if err != nil {
			return err
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			c, err := a.PutRevocationList(ctx, name, args[0], list)
			if err != nil {
				return err
			}
			return out.print(c, func(t *table) { certificateTable(t, c) })
		})
	}
	return cmd
}

func newCmdCertIssuer(st *state.State, l *dpsLogin) *cobra.Command {
	return &cobra.Command{
		Use: "issuer", Short: "Print the authorities that issue certificates to devices, PEM", Args: noArgs,
		Long: "Prints the authorities that issue certificates to devices, for whoever is to trust those. There are none before the first credential policy.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
				pem, err := a.Issuer(ctx, name)
				if err != nil {
					return err
				}
				if strings.TrimSpace(pem) == "" {
					return fmt.Errorf("the provisioning service %s issues no certificates yet: make a policy with 'causeway dps credential-policy create'", name)
				}
				_, err = fmt.Fprint(st.Stdout, pem)
				return err
			})
		},
	}
}
