package codec

// SASLOutcomeCode says how a SASL dialogue ended (part 5 §5.3.3.6).
type SASLOutcomeCode uint8

// The outcomes.
const (
	SASLOK      SASLOutcomeCode = 0 // authenticated
	SASLAuth    SASLOutcomeCode = 1 // wrong credentials
	SASLSys     SASLOutcomeCode = 2 // system error
	SASLSysPerm SASLOutcomeCode = 3 // system error that will stay
	SASLSysTemp SASLOutcomeCode = 4 // system error that may go
)

// SASLMechanisms lists what the server offers (part 5 §5.3.3.1).
type SASLMechanisms struct{ Mechanisms Symbols }

// Code returns CodeSASLMechanisms.
func (*SASLMechanisms) Code() Code { return CodeSASLMechanisms }

func (p *SASLMechanisms) fields(f *fields) {
	f.symbols("sasl-server-mechanisms", &p.Mechanisms)
	if !f.write && p.Mechanisms.IsZero() {
		f.missing("sasl-server-mechanisms")
	}
}

// SASLInit chooses a mechanism (part 5 §5.3.3.2).
type SASLInit struct {
	Mechanism       string
	InitialResponse []byte // nil is absent, which differs from empty; a secret
	Hostname        string
}

// Code returns CodeSASLInit.
func (*SASLInit) Code() Code { return CodeSASLInit }

func (p *SASLInit) fields(f *fields) {
	f.mustSymbol("mechanism", &p.Mechanism)
	f.binary("initial-response", &p.InitialResponse, unbounded)
	f.text("hostname", &p.Hostname)
}

// SASLChallenge is the server's turn (part 5 §5.3.3.3).
type SASLChallenge struct{ Challenge []byte }

// Code returns CodeSASLChallenge.
func (*SASLChallenge) Code() Code { return CodeSASLChallenge }

func (p *SASLChallenge) fields(f *fields) { f.mustBinary("challenge", &p.Challenge) }

// SASLResponse is the client's turn (part 5 §5.3.3.4).
type SASLResponse struct{ Response []byte }

// Code returns CodeSASLResponse.
func (*SASLResponse) Code() Code { return CodeSASLResponse }

func (p *SASLResponse) fields(f *fields) { f.mustBinary("response", &p.Response) }

// SASLOutcome ends the dialogue (part 5 §5.3.3.5).
type SASLOutcome struct {
	Outcome        SASLOutcomeCode
	AdditionalData []byte
}

// Code returns CodeSASLOutcome.
func (*SASLOutcome) Code() Code { return CodeSASLOutcome }

func (p *SASLOutcome) fields(f *fields) {
	const none = 0xFF // no default: OK must be written
	if f.write {
		choice(f, "code", &p.Outcome, none, SASLSysTemp)
	} else if choice(f, "code", &p.Outcome, none, none); p.Outcome == none {
		f.missing("code")
	} else if p.Outcome > SASLSysTemp && f.err == nil {
		f.err = invalidf("%v: code is %d, more than %d", f.code, p.Outcome, SASLSysTemp)
	}
	f.binary("additional-data", &p.AdditionalData, unbounded)
}
