package cli

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// The words of flags of enrollments, those of az iot dps.
var (
	attestationTypes      = []string{"symmetricKey", "x509", "tpm"}
	enrollmentAllocations = []string{"hashed", "geoLatency", "static", "custom"}
	provisioningStatuses  = []string{"enabled", "disabled"}
	reprovisionPolicies   = []string{"reprovisionandmigratedata", "reprovisionandresetdata", "never"}
)

// enrollmentFlags is what can be said of an enrollment.
type enrollmentFlags struct {
	kind client.EnrollmentKind

	attestation                          string
	primaryKey, secondaryKey             string
	certificate, secondaryCertificate    string
	removeCertificate, removeSecondary   bool
	authority, secondaryAuthority        string
	endorsementKey, storageRootKey       string
	device, status, reprovision          string
	allocation, webhook, webhookVersion  string
	hubs                                 []string
	edge                                 bool
	tags, desired, information, issuance string
}

func addEnrollmentFlags(cmd *cobra.Command, kind client.EnrollmentKind, update bool) *enrollmentFlags {
	v := &enrollmentFlags{kind: kind}
	f := cmd.Flags()
	choice := func(p *string, name, usage string, choices []string) {
		f.StringVar(p, name, "", usage+": "+strings.Join(choices, ", "))
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
	}
	if !update {
		choice(&v.attestation, "attestation-type", "how devices prove who they are, when other flags do not say", v.types())
	}
	f.StringVar(&v.primaryKey, "primary-key", "", "base64 `key` of 16 to 64 bytes; default: both are generated")
	f.StringVar(&v.secondaryKey, "secondary-key", "", "base64 `key`, which goes with the primary one")
	whose := "of the device"
	if kind == client.EnrollmentGroup {
		whose = "that has signed those of the devices"
	}
	f.StringVar(&v.certificate, "certificate-path", "", "`file` with the certificate "+whose+", PEM or DER")
	f.StringVar(&v.secondaryCertificate, "secondary-certificate-path", "", "`file` with a second certificate "+whose)
	if update {
		f.BoolVar(&v.removeCertificate, "remove-certificate", false, "remove the certificate; the second one takes its place")
		f.BoolVar(&v.removeSecondary, "remove-secondary-certificate", false, "remove the second certificate")
	}
	f.StringVar(&v.authority, "ca-name", "", "`name` of a verified certificate of the service that has signed those of devices")
	f.StringVar(&v.secondaryAuthority, "secondary-ca-name", "", "`name` of a second one")
	if kind == client.IndividualEnrollment {
		f.StringVar(&v.endorsementKey, "endorsement-key", "", "endorsement `key` of the device's TPM, base64 of TPM2B_PUBLIC; @FILE reads it")
		f.StringVar(&v.storageRootKey, "storage-root-key", "", "storage root `key` of the device's TPM")
		f.StringVar(&v.device, "device-id", "", "`id` of the device on its hub; default: the registration id")
		f.StringVar(&v.information, "device-information", "", "`JSON` that is kept with the enrollment")
	}
	choice(&v.status, "provisioning-status", "whether devices may register", provisioningStatuses)
	choice(&v.reprovision, "reprovision-policy", "what happens to devices that register again", reprovisionPolicies)
	choice(&v.allocation, "allocation-policy", "how a hub is chosen; default: as the service says", enrollmentAllocations)
	f.StringSliceVar(&v.hubs, "iot-hubs", nil, "host `names` of the hubs to choose from, separated by commas; default: all that are linked")
	f.StringVar(&v.webhook, "webhook-url", "", "`URL` that chooses a hub, of the allocation policy custom")
	f.StringVar(&v.webhookVersion, "api-version", "2021-10-01", "`version` of the API that the webhook speaks")
	f.BoolVar(&v.edge, "edge-enabled", false, "devices are edge gateways")
	f.StringVar(&v.tags, "initial-twin-tags", "", "`JSON` of the tags that twins begin with")
	f.StringVar(&v.desired, "initial-twin-properties", "", "`JSON` of the desired properties that twins begin with")
	f.StringVar(&v.issuance, "credential-policy", "", "`name` of who issues certificates at registration")
	return v
}

// changes are the flags that say something of an enrollment.
var enrollmentChanges = []string{
	"attestation-type", "primary-key", "secondary-key", "certificate-path", "secondary-certificate-path", "remove-certificate", "remove-secondary-certificate",
	"ca-name", "secondary-ca-name", "endorsement-key", "storage-root-key", "device-id", "device-information", "provisioning-status", "reprovision-policy",
	"allocation-policy", "iot-hubs", "webhook-url", "api-version", "edge-enabled", "initial-twin-tags", "initial-twin-properties", "credential-policy",
}

// any reports whether a flag is given.
func (v *enrollmentFlags) any(cmd *cobra.Command) bool {
	return slices.ContainsFunc(enrollmentChanges, func(name string) bool { return cmd.Flags().Changed(name) })
}

// apply puts what flags are given for into e.
func (v *enrollmentFlags) apply(cmd *cobra.Command, st *state.State, e *client.Enrollment) (err error) {
	if err := v.attest(st, &e.Attestation); err != nil {
		return err
	}
	changed := cmd.Flags().Changed
	if changed("device-id") {
		e.DeviceID = v.device
	}
	if changed("provisioning-status") {
		if e.Status, err = oneOf("provisioning-status", v.status, provisioningStatuses); err != nil {
			return err
		}
	}
	if changed("reprovision-policy") {
		if e.Reprovision, err = reprovisionOf(v.reprovision); err != nil {
			return err
		}
	}
	if changed("edge-enabled") {
		e.Capabilities = &client.Capabilities{IoTEdge: v.edge}
	}
	if changed("credential-policy") {
		e.CredentialPolicy = v.issuance
	}
	if changed("device-information") {
		if e.Information, err = jsonFlag(st, "--device-information", v.information); err != nil {
			return err
		}
	}
	if err := v.allocate(cmd, e); err != nil {
		return err
	}
	return v.twin(cmd, st, e)
}

// allocate says how a hub is chosen. Another policy takes its parts along: a
// webhook is of use for one alone.
func (v *enrollmentFlags) allocate(cmd *cobra.Command, e *client.Enrollment) (err error) {
	changed := cmd.Flags().Changed
	if changed("allocation-policy") {
		if e.AllocationPolicy, err = oneOf("allocation-policy", v.allocation, enrollmentAllocations); err != nil {
			return err
		}
		if e.AllocationPolicy != "custom" {
			e.Webhook = nil
		}
	}
	if changed("iot-hubs") {
		e.Hubs = slices.DeleteFunc(v.hubs, func(h string) bool { return h == "" })
	}
	if changed("webhook-url") {
		e.Webhook = &client.AllocationWebhook{URL: v.webhook, APIVersion: v.webhookVersion}
	} else if changed("api-version") && e.Webhook != nil {
		e.Webhook.APIVersion = v.webhookVersion
	}
	return nil
}

func (v *enrollmentFlags) twin(cmd *cobra.Command, st *state.State, e *client.Enrollment) (err error) {
	tags, desired := cmd.Flags().Changed("initial-twin-tags"), cmd.Flags().Changed("initial-twin-properties")
	if !tags && !desired {
		return nil
	}
	if e.InitialTwin == nil {
		e.InitialTwin = &client.InitialTwin{}
	}
	if tags {
		if e.InitialTwin.Tags, err = jsonFlag(st, "--initial-twin-tags", v.tags); err != nil {
			return err
		}
	}
	if desired {
		e.InitialTwin.Properties.Desired, err = jsonFlag(st, "--initial-twin-properties", v.desired)
	}
	return err
}

// types are the attestations of the kind of enrollments.
func (v *enrollmentFlags) types() []string {
	if v.kind == client.EnrollmentGroup {
		return attestationTypes[:2] // each TPM has a key of its own
	}
	return attestationTypes
}

// typ returns the attestation that the flags are of, "" for none.
func (v *enrollmentFlags) typ() (string, error) {
	var types []string
	for t, given := range map[string]bool{
		"symmetricKey": v.primaryKey+v.secondaryKey != "",
		"x509":         v.certificate+v.secondaryCertificate+v.authority+v.secondaryAuthority != "" || v.removeCertificate || v.removeSecondary,
		"tpm":          v.endorsementKey+v.storageRootKey != "",
	} {
		if given {
			types = append(types, t)
		}
	}
	if v.attestation != "" {
		t, err := oneOf("attestation-type", v.attestation, v.types())
		if err != nil {
			return "", err
		}
		if !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	switch len(types) {
	case 0:
		return "", nil
	case 1:
		return types[0], nil
	}
	return "", usagef("flags of %s: devices prove who they are in one way", strings.Join(types, " and of "))
}

// attest says how devices prove who they are.
func (v *enrollmentFlags) attest(st *state.State, a *client.EnrollmentAttestation) error {
	typ, err := v.typ()
	if err != nil {
		return err
	}
	if typ == "" && a.Type == "" {
		typ = "symmetricKey"
	}
	switch {
	case typ == "":
		return nil // as it is
	case a.Type != "" && a.Type != typ:
		return usagef("it proves itself with %s, which cannot change to %s: delete it and create it again", a.Type, typ)
	}
	a.Type = typ
	switch typ {
	case "symmetricKey":
		return v.keys(a)
	case "tpm":
		return v.tpm(st, a)
	default:
		return v.certificates(st, a)
	}
}

func (v *enrollmentFlags) keys(a *client.EnrollmentAttestation) error {
	if v.primaryKey == "" && v.secondaryKey == "" {
		return nil
	}
	if a.SymmetricKey == nil {
		a.SymmetricKey = &client.SymmetricKey{}
	}
	if v.primaryKey != "" {
		a.SymmetricKey.PrimaryKey = v.primaryKey
	}
	if v.secondaryKey != "" {
		a.SymmetricKey.SecondaryKey = v.secondaryKey
	}
	if a.SymmetricKey.PrimaryKey == "" || a.SymmetricKey.SecondaryKey == "" {
		return usagef("--primary-key and --secondary-key belong together")
	}
	return nil
}

func (v *enrollmentFlags) tpm(st *state.State, a *client.EnrollmentAttestation) error {
	if a.TPM == nil {
		a.TPM = &client.TPMAttestation{}
	}
	for _, k := range []struct {
		flag, value string
		into        *string
	}{{"--endorsement-key", v.endorsementKey, &a.TPM.EndorsementKey}, {"--storage-root-key", v.storageRootKey, &a.TPM.StorageRootKey}} {
		if k.value == "" {
			continue
		}
		b, err := textFlag(st, k.flag, k.value)
		if err != nil {
			return err
		}
		*k.into = strings.TrimSpace(string(b))
	}
	if a.TPM.EndorsementKey == "" {
		return usagef("--endorsement-key is missing: the device's TPM is known by it")
	}
	return nil
}

func (v *enrollmentFlags) certificates(st *state.State, a *client.EnrollmentAttestation) error {
	if a.X509 == nil {
		a.X509 = &client.X509Attestation{}
	}
	x := a.X509
	if v.authority != "" || v.secondaryAuthority != "" {
		if x.Authorities == nil {
			x.Authorities = &client.AuthorityReferences{}
		}
		x.Client, x.Signing = nil, nil
		if v.authority != "" {
			x.Authorities.Primary = v.authority
		}
		if v.secondaryAuthority != "" {
			x.Authorities.Secondary = v.secondaryAuthority
		}
		if v.certificate+v.secondaryCertificate == "" {
			return nil
		}
		return usagef("certificates are given by file or by --ca-name, not both")
	}
	if v.certificate+v.secondaryCertificate == "" && !v.removeCertificate && !v.removeSecondary {
		return usagef("--certificate-path or --ca-name is missing: say which certificates devices have")
	}
	pair := &x.Client
	if v.kind == client.EnrollmentGroup {
		pair = &x.Signing
	}
	if *pair == nil {
		*pair = &client.CertificatePair{}
	}
	x.Authorities = nil
	if v.removeCertificate {
		(*pair).Primary = nil
	}
	if v.removeSecondary {
		(*pair).Secondary = nil
	}
	if err := certificateFile(st, "--certificate-path", v.certificate, &(*pair).Primary); err != nil {
		return err
	}
	return certificateFile(st, "--secondary-certificate-path", v.secondaryCertificate, &(*pair).Secondary)
}

// certificateFile reads a certificate, as PEM text or as DER.
func certificateFile(st *state.State, flag, file string, into **client.EnrollmentCertificate) error {
	if file == "" {
		return nil
	}
	b, err := st.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	text := string(b)
	if len(b) > 0 && b[0] == 0x30 { // a SEQUENCE: DER
		text = base64.StdEncoding.EncodeToString(b)
	}
	*into = &client.EnrollmentCertificate{Certificate: text}
	return nil
}

// reprovisionOf reads a policy in the words of az.
func reprovisionOf(text string) (*client.ReprovisionPolicy, error) {
	p, err := oneOf("reprovision-policy", text, reprovisionPolicies)
	return &client.ReprovisionPolicy{UpdateHubAssignment: p != "never", MigrateDeviceData: p == "reprovisionandmigratedata"}, err
}

// reprovisionText is what a policy means.
func reprovisionText(p *client.ReprovisionPolicy) string {
	switch {
	case p == nil || p.UpdateHubAssignment && p.MigrateDeviceData:
		return "the allocation may move it, its twin comes along"
	case p.UpdateHubAssignment:
		return "the allocation may move it, its twin begins anew"
	}
	return "it stays on its hub"
}
