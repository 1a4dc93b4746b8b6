"""``askd data list | get | show | check``: the speech domains from the shell."""

import argparse
from pathlib import Path

from askd.commands.options import add_source_options, source_options, subcommands
from askd.errors import AskdError

ABOUT = "list, make, fetch, show and check speech"
EXAMPLES = "askd data list\n  askd data get --clips 40\n  askd data check my_recordings/    (each action has --help)"
ACTIONS = {
    "list": "askd data list\n  askd data list --hub",
    "get": "askd data get --clips 40                              # test clips of every synthetic and packaged domain\n"
    "  askd data get formant_noise --role train --clips 250\n"
    "  askd data get mini_librispeech an4                     # public corpora, from their homes\n"
    "  askd data get hub:librispeech_other --clips 100",
    "show": "askd data show formant_telephone\n  askd data show my_recordings/\n  askd data show hub:fleurs",
    "check": "askd data check my_recordings/\n  askd data check corpus/train --layout kaldi\n  askd data check train.tsv",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four actions."""
    action = subcommands(parser, "action", ACTIONS)

    p = action("list", "the declared domains, a line each")
    p.add_argument("--hub", action="store_true", help="the presets for data sets of the Hugging Face Hub instead")

    p = action("get", "make, fetch or download clips into the cache")
    p.add_argument("domains", nargs="*", help="declared names, hub:ID, folders (default: all synthetic and packaged domains)")
    p.add_argument("--role", default="test", help="train, dev or test (default: test); of a folder also all")
    p.add_argument("--clips", type=int, default=40, help="clips a domain (default: 40)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, help="processes (default: one a core)")
    add_source_options(p)

    p = action("show", "what a domain is: source, speakers, licence, citation, a few of its texts")
    p.add_argument("domain")
    add_source_options(p)

    p = action("check", "read every transcript and decode every recording of a folder; report every problem at once")
    p.add_argument("folder", help="audiofolder, Kaldi folder, LibriSpeech or LJSpeech tree, or a CSV, TSV or JSONL file")
    p.add_argument("--all", action="store_true", help="show every warning, not the first of each kind (problems are all shown)")
    p.add_argument("--layout", help="when several layouts fit (default: found out)")
    p.add_argument("--audio-root", help="folder that relative audio paths start from (default: as the layout has it)")
    p.add_argument("--workers", type=int, help="processes (default: one a core)")


def run(args: argparse.Namespace) -> int:
    """Carry out one action; the exit status is 1 when a check found problems."""
    return {"list": _list, "get": _get, "show": _show, "check": _check}[args.action](args) or 0


def _list(args) -> None:
    from askd.domains import all_domains

    if args.hub:
        from askd.hubsource import presets

        for name, source in presets().items():
            print(f"hub:{name:22} {source.id:32} {'gated ' if source.gated else ''}{source.about}")
        return
    for domain in all_domains().values():
        print(f"{domain.name:20} {domain.split:14} {domain.source:10} {domain.about}")


def _get(args) -> None:
    from askd.corpora import corpus_is_here, get_corpus
    from askd.domains import domain_names, get_domain, load_clips
    from askd.hubsource import parse_hub
    from askd.packages import PackageUnavailable

    chosen = [get_domain(name) for name in args.domains or domain_names(source=("synthetic", "package"))]
    for domain in chosen:
        if domain.hub and (note := parse_hub(domain.hub).note):
            print(f"{domain.name}: {note}")
        if domain.corpus and not corpus_is_here(domain.corpus, args.audio_root):
            print(f"{domain.name} in {get_corpus(domain.corpus)}")
        if args.role not in domain.roles:
            if args.domains:
                raise AskdError(f"{domain.name} has no {args.role} clips, only {', '.join(domain.roles)}")
            continue
        try:
            clips = load_clips(domain, args.role, args.clips, args.seed, args.workers, True, **source_options(args))
        except PackageUnavailable as error:
            print(f"left out: {domain.name}: {error}")
            continue
        minutes = sum(clip.audio_s for clip in clips) / 60
        place = Path(clips[0].path).parent if clips else "nothing found"
        print(f"{domain.name:20} {args.role:5} {len(clips):5} clips {minutes:7.1f} min  {place}")


def _show(args) -> None:
    from askd.domains import get_domain, load_clips
    from askd.hubsource import parse_hub
    from askd.synthesis import text_of

    domain = get_domain(args.domain)
    print(domain.name)
    facts = {
        "about": domain.about, "split": domain.split, "source": domain.source, "roles": ", ".join(domain.roles),
        "language": domain.language, "speaker": domain.speaker, "licence": domain.licence, "citation": domain.citation,
        "voices": ", ".join(domain.voices), "channel": domain.channel, "topics": ", ".join(domain.topics),
        "corpus": domain.corpus, "folder": domain.path, "hub": domain.hub,
        "note": parse_hub(domain.hub).note if domain.hub else "",
    }
    for name, value in facts.items():
        if value:
            print(f"  {name:10} {value}")
    for role in domain.roles:
        if domain.source == "synthetic":
            print(f"  {role:10} without end: {text_of(domain, role, 0, 0)!r}, {text_of(domain, role, 1, 0)!r}, ...")
        elif domain.source == "hub":
            print(f"  {role:10} askd data get {domain.hub} --role {role}")
        else:
            try:
                clips = load_clips(domain, role, **source_options(args))
            except AskdError as error:
                print(f"  {role:10} {error}")
                continue
            minutes, speakers = sum(c.audio_s for c in clips) / 60, len({c.speaker for c in clips})
            first = f": {clips[0].text!r}, ..." if clips else ""
            print(f"  {role:10} {len(clips)} clips, {minutes:.1f} min, {speakers} speakers{first}")


def _check(args) -> int:
    from askd.foldercheck import check_folder

    report = check_folder(args.folder, args.layout, workers=args.workers, audio_root=args.audio_root)
    print(report.as_text(args.all))
    return 0 if report.ok else 1
