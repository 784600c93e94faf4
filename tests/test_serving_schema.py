"""The OpenAPI description matches the server, for requests that schemathesis generates."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import voice_server
from voices import RATE, babble

pytest.importorskip("schemathesis")


def test_the_server_does_what_openapi_describes(tmp_path):
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    with voice_server.running() as server:
        arguments = [command, "run", f"{server.url}/openapi.json", "--checks", checks, "--max-examples", "15"]
        done = subprocess.run(
            [*arguments, "--generation-deterministic", "--workers", "1", "--no-color"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


def test_examples_in_openapi_match_their_schemas():
    import jsonschema_rs

    from genser.serving.predict import PredictAnswer
    from genser.serving.segments import SegmentsAnswer

    for model in (PredictAnswer, SegmentsAnswer):
        schema = model.model_json_schema()
        for definition in (schema, *schema["$defs"].values()):
            for field in definition["properties"].values():
                for example in field.get("examples", []):
                    jsonschema_rs.validate({**field, "$defs": schema["$defs"]}, example)


def test_answers_match_openapi():
    import httpx2 as httpx
    import jsonschema_rs

    file = io.BytesIO()
    soundfile.write(file, babble(2.0), RATE, format="WAV")
    with voice_server.running() as server:
        schema = httpx.get(f"{server.url}/openapi.json").json()
        for route, name in (
            ("predict?trajectory=true", "PredictAnswer"),
            ("segments?envelope=1&summary=1", "SegmentsAnswer"),
        ):
            answer = httpx.post(f"{server.url}/v1/{route}", content=file.getvalue(), timeout=30).json()
            jsonschema_rs.validate({"$ref": f"#/components/schemas/{name}", **schema}, answer)
