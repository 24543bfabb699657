"""What is wrong with a command line or a configuration: how to prepare it, what to type, and what the message says."""

from spoiling import config, content, nothing

TRAIN = ("train", "--epochs", "1")

OPTIONS = {
    # the command line itself
    "unknown command": (nothing, ("trian",), r"No such command 'trian'.*train"),
    "unknown option": (nothing, ("train", "--epoch", "3"), "No such option: --epoch.*--epochs"),
    "option without value": (nothing, ("train", "--epochs"), "'--epochs' requires an argument"),
    "word for a number": (nothing, ("train", "--epochs", "many"), "--epochs should be an integer, got 'many'"),
    "fraction for a count": (nothing, ("train", "--epochs", "1.5"), "--epochs should be an integer, got '1.5'"),
    "negative count": (nothing, ("train", "--epochs", "-3"), "--epochs should be greater than or equal to 1, got -3"),
    "no batch": (nothing, (*TRAIN, "--batch-size", "0"), "--batch-size should be greater than or equal to 1, got 0"),
    "negative rate": (nothing, (*TRAIN, "--lr", "-0.1"), "--lr should be greater than 0, got -0.1"),
    "rate not a number": (
        nothing,
        (*TRAIN, "--lr", "nan"),
        "--lr should be .*greater than 0|--lr should be a finite number, got nan",
    ),
    "infinite rate": (nothing, (*TRAIN, "--lr", "inf"), "--lr should be a finite number, got inf"),
    "negative seed": (nothing, (*TRAIN, "--seed", "-1"), "--seed should be greater than or equal to 0, got -1"),
    "no threads": (nothing, (*TRAIN, "--threads", "0"), "--threads should be greater than or equal to 1, got 0"),
    "more threads than processors": (nothing, (*TRAIN, "--threads", "100000"), "--threads 100000 is more than the "),
    "a device without data": (nothing, (*TRAIN, "--device", "meta"), "the device 'meta' cannot be used here"),
    "a count beyond any machine": (
        nothing,
        (*TRAIN, "--batch-size", "9223372036854775808"),
        "--batch-size should be less than 4294967296",
    ),
    "a cache beyond any machine": (nothing, (*TRAIN, "--cache-size", "9" * 400), "--cache-size should be a size such"),
    "a temperature beyond numbers": (nothing, (*TRAIN, "--temperature", "1e308"), "--temperature should be less than"),
    "a configuration without end": (
        nothing,
        (*TRAIN, "--config", "/dev/zero"),
        "/dev/zero is not an options file: it is larger than 1",
    ),
    "a list for a number": (nothing, ("compare", "--seeds=0,1"), "drkd: --seeds should be an integer, got '0,1'"),
    "a word for a rate": (nothing, (*TRAIN, "--lr", "fast"), "drkd: --lr should be a number, got 'fast'"),
    "a list with spaces": (nothing, ("compare", "--methods", "ps_kd", "dr_kd"), r"\(dr_kd\); write lists with commas"),
    "a huge seed": (nothing, (*TRAIN, "--seed", "9" * 30), "--seed should be less than 4294967296"),
    "many workers": (nothing, (*TRAIN, "--workers", "100000"), "--workers should be less than or equal to 1024"),
    **{
        f"a long name for {option}": (nothing, (*TRAIN, option, "x" * 300), "xxx.*: File name too long")
        for option in ("--out", "--data", "--config", "--weights", "--teacher")
    },
    "a long name of a run": (
        nothing,
        ("evaluate", "x" * 300),
        r"xxx\.\.\.xxx.*: File name too long; give another name",
    ),
    "a long name for an export": (nothing, ("push", "run", "--out", "x" * 300), "xxx.*: File name too long"),
    "alpha above 1": (nothing, (*TRAIN, "--alpha", "1.5"), "--alpha should be less than or equal to 1, got 1.5"),
    "a part that no network has": (
        nothing,
        (*TRAIN, "--freeze", "neck"),
        "--freeze should be backbone, or a number of blocks from 1 on, got 'neck'",
    ),
    "random weights kept": (nothing, (*TRAIN, "--freeze", "1"), "--freeze 1 would keep random weights fixed"),
    "a backbone that learns slowly and not at all": (
        nothing,
        (*TRAIN, "--freeze", "backbone", "--layer-decay", "0.7"),
        "--layer-decay has no effect with --freeze backbone; leave it out, or choose --freeze with a number",
    ),
    "cold temperature": (nothing, (*TRAIN, "--temperature", "0"), "--temperature should be greater than 0, got 0"),
    "unknown choice": (nothing, (*TRAIN, "--optimizer", "adam"), "--optimizer should be 'sgd' or 'adamw', got 'adam'"),
    "nonsense milestones": (nothing, (*TRAIN, "--milestones", "half,1"), "--milestones should be .*got 'half'"),
    "milestone beyond the end": (nothing, (*TRAIN, "--milestones", "0.5,1.5"), "--milestones should be less than 1"),
    "empty list": (nothing, ("compare", "--methods", ","), r"--methods should have at least 1 item, got ','"),
    "nonsense in a list": (nothing, ("compare", "--methods", "dr_kd,,;"), r"unknown method ';'"),
    "unknown in a list": (nothing, ("compare", "--methods", "dr_kd,drkd"), r"drkd.*did you mean dr_kd\?"),
    "no seeds": (nothing, ("compare", "--seeds", "0"), "--seeds should be greater than or equal to 1, got 0"),
    "noise everywhere": (nothing, ("compare", "--label-noise", "0,1"), "--label-noise should be less than 1, got"),
    "noise in words": (nothing, ("compare", "--label-noise", "some"), "--label-noise should be .*number.*got 'some'"),
    "unknown size": (nothing, (*TRAIN, "--cache-size", "huge"), "--cache-size should be a size such as 500MB"),
    "unknown pace": (
        nothing,
        (*TRAIN, "--checkpoint-every", "often"),
        "epoch, a number of steps,? or seconds.*'often'",
    ),
    "unknown average": (nothing, (*TRAIN, "--average", "mean"), "--average should be ema, ema:DECAY .*got 'mean'"),
    "epoch to keep": (nothing, (*TRAIN, "--keep-epochs", "5"), "--keep-epochs counts from 0 to 0 here, got 5"),
    "unknown method": (nothing, (*TRAIN, "--method", "drkd"), r"unknown method 'drkd'; did you mean dr_kd\?"),
    "unknown model": (nothing, (*TRAIN, "--model", "resnet19"), r"unknown.*'resnet19'; did you mean resnet1"),
    "unknown timm model": (nothing, (*TRAIN, "--model", "timm:nonsense"), "timm.*nonsense"),
    "unknown data": (
        nothing,
        (*TRAIN, "--data", "digit"),
        r"there is no data set or folder called 'digit'; did you mean d",
    ),
    "class weights in words": (
        nothing,
        (*TRAIN, "--class-weights", "even"),
        "should be balanced, or one number per class",
    ),
    "other number of class weights": (nothing, (*TRAIN, "--class-weights", "1,2"), "needs 10 numbers, .*got 2"),
    "unknown augmentation": (
        nothing,
        (*TRAIN, "--augment", "flop"),
        r"unknown augmentation 'flop'; did you mean flip\?",
    ),
    "unknown device": (nothing, (*TRAIN, "--device", "warp"), "the device 'warp' cannot be used here"),
    "unknown recipe": (nothing, ("reproduce", "dr_kd/nonsense"), "dr_kd/nonsense.*drkd list recipes"),
    "unknown list": (nothing, ("list", "networks"), "`drkd list` shows methods, models, .*got 'networks'"),
    "more samples than there are": (
        nothing,
        (*TRAIN, "--limit-train", "9999"),
        "9999 training samples exceeds the 1293",
    ),
    "fewer samples than classes": (nothing, (*TRAIN, "--limit-train", "3"), "needs at least 10 samples, one of each"),
    "setting of another method": (
        nothing,
        (*TRAIN, "--method", "ps_kd", "--temperature", "2"),
        "ps_kd takes no temper",
    ),
    "a file where the run should be": (nothing, (*TRAIN, "--out", "image.png"), "image.png exists and is not a run"),
    "a run inside a file": (
        nothing,
        (*TRAIN, "--out", "image.png/run"),
        "cannot write to image.png/run: Not a dir",
    ),
    "another run": (nothing, (*TRAIN, "--out", "run", "--lr", "9"), r"run holds a run with other settings \(.*lr"),
    # what would have no effect
    "momentum of adamw": (
        nothing,
        (*TRAIN, "--optimizer", "adamw", "--momentum", "0.8"),
        "--momentum has no effect with --optimizer adamw; leave it out, or choose --optimizer sgd",
    ),
    "milestones of cosine": (
        nothing,
        ("tune", "--milestones", "0.5"),
        "--milestones has no effect with --schedule cos",
    ),
    "cache of nothing": (nothing, (*TRAIN, "--cache", "kept"), "--cache has no effect with --cache-size 0; leave it"),
    "cache without a teacher": (
        nothing,
        (*TRAIN, "--method", "ols", "--cache-size", "1GB"),
        "--cache-size has no effect with ols, which never needs a teacher output twice",
    ),
    "memory of an average": (
        nothing,
        (*TRAIN, "--method", "online_dr_kd", "--source", "ema", "--keep", "half"),
        "online_dr_kd can keep logits only with source=memory",
    ),
    "calibration of floats": (
        nothing,
        ("export", "run", "--calibration-samples", "9"),
        "--calibration-samples has no effect without --quantize; leave it out, or choose --quantize int8",
    ),
    "public, but not sent": (nothing, ("push", "run", "--public"), "--public has no effect without --send"),
    "setting of no method": (
        nothing,
        ("tune", "--methods", "ps_kd", "--temperature", "2"),
        "--temperature 2.0 applies to none of ps_kd",
    ),
    "teacher of no method": (nothing, ("tune", "--methods", "ps_kd", "--teacher", "run"), "ps_kd takes no teacher"),
    # configurations
    "no configuration": (
        nothing,
        (*TRAIN, "--config", "none.yaml"),
        "cannot read the configuration none.yaml: No such",
    ),
    "a folder as configuration": (
        nothing,
        (*TRAIN, "--config", "pets"),
        "cannot read the configuration pets: Is a dir",
    ),
    "broken YAML": (config("a: ["), (*TRAIN, "--config", "c.yaml"), "c.yaml is not YAML: .*expected"),
    "binary configuration": (config(b"\xff\xfe\x00"), (*TRAIN, "--config", "c.yaml"), "c.yaml is not YAML: "),
    "control characters": (config("a: \x00"), (*TRAIN, "--config", "c.yaml"), "c.yaml is not YAML: "),
    "a list as configuration": (
        config("- a"),
        (*TRAIN, "--config", "c.yaml"),
        "c.yaml needs a line `option: value`.*list",
    ),
    "a date that is none": (config("lr: 2020-99-99"), (*TRAIN, "--config", "c.yaml"), "c.yaml is not YAML: month"),
    "a number of many digits": (config("lr: " + "9" * 5000), (*TRAIN, "--config", "c.yaml"), "c.yaml is not YAML: Exc"),
    "deep nesting": (config("[" * 5000), (*TRAIN, "--config", "c.yaml"), "c.yaml is not YAML: "),
    "a null character": (
        config('out: "a\\0b"'),
        (*TRAIN, "--config", "c.yaml"),
        "--out should be text without a null character",
    ),
    "unknown key": (
        config("epochz: 3"),
        (*TRAIN, "--config", "c.yaml"),
        r"unknown option 'epochz'; did you mean epochs",
    ),
    "key of no type": (config("lr: [1]"), (*TRAIN, "--config", "c.yaml"), r"--lr should be a valid number, got \[1\]"),
    "options of a method": (
        config("method_options: {colour: 3}"),
        (*TRAIN, "--config", "c.yaml"),
        "dr_kd takes no colour",
    ),
    "damaged record of a run": (
        content("run/config.yaml", b"a: ["),
        (*TRAIN, "--out", "run", "--resume"),
        "run/config.yaml is not YAML",
    ),
    "record that is no record": (
        content("run/config.yaml", b"- a"),
        (*TRAIN, "--out", "run", "--resume"),
        "run/config.yaml needs a line `option: value` for each option, got list",
    ),
}
